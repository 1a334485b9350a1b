"""A SLURM of one node on this machine's loopback, apart from any other that there may be."""

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "munged", "mungekey", "sbatch", "srun", "scontrol", "squeue")
# Debian puts daemons where only root's PATH looks.
PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"

CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthInfo=socket={folder}/munge.socket
SlurmUser={user}
SlurmdUser={user}
MpiDefault=none
ProctrackType=proctrack/linuxproc
SwitchType=switch/none
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
KillWait=2
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmdSpoolDir={folder}/slurmd
StateSaveLocation={folder}/slurmctld
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory=1000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""

# submitit asks sacct, which needs a data base; this answers from what the controller remembers.
SACCT = r"""#!/bin/sh
echo "JobID|State|NodeList"
scontrol show job --oneliner | awk '/JobId=/ {
    for (i = 1; i <= NF; i++) { split($i, pair, "="); value[pair[1]] = pair[2] }
    task = value["ArrayTaskId"]
    if (task ~ /[-,]/) task = "[" task "]"
    print value["ArrayJobId"] "_" task "|" value["JobState"] "|" value["NodeList"]
}'
"""


def missing():
    """Return the programs that are not installed."""
    return [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]


@contextlib.contextmanager
def one_node_slurm():
    """Start a cluster; yield the environment for its commands; stop it."""
    # Not below pytest's folder: the path of a socket must be short.
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
    folder.chmod(0o711)  # munged asks for it
    for name in ("slurmd", "slurmctld"):
        (folder / name).mkdir()
    configuration = folder / "slurm.conf"
    host = socket.gethostname().partition(".")[0]
    user, cores = getpass.getuser(), os.cpu_count()
    configuration.write_text(
        CONFIGURATION.format(host=host, ports=free_ports(2), folder=folder, user=user, cores=cores)
    )
    (folder / "bin").mkdir()
    (folder / "bin" / "sacct").write_text(SACCT)
    (folder / "bin" / "sacct").chmod(0o755)
    environment = {"SLURM_CONF": str(configuration), "PATH": f"{folder}/bin:{PATH}"}
    everything = {**os.environ, **environment}
    daemons = []

    def start(*command):
        with open(folder / f"{command[0]}.out", "w") as log:
            daemons.append(
                subprocess.Popen(
                    command, env=everything, stdout=log, stderr=log, start_new_session=True
                )
            )

    try:
        key = folder / "munge.key"
        subprocess.run(["mungekey", "--create", f"--keyfile={key}"], env=everything, check=True)
        start(
            "munged", "--foreground", "--force", f"--key-file={key}",
            f"--socket={folder}/munge.socket", f"--pid-file={folder}/munged.pid",
            f"--seed-file={folder}/munge.seed",
        )  # fmt: skip
        wait_until(lambda: (folder / "munge.socket").exists(), folder)
        start("slurmctld", "-D")
        start("slurmd", "-D", "-N", host)
        wait_until(lambda: "idle" in run(everything, "sinfo", "-h", "-o", "%T"), folder)
        yield environment
    finally:
        run(everything, "scancel", "--user", user)
        for daemon in reversed(daemons):
            daemon.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.wait(10)
            daemon.kill()
        shutil.rmtree(folder, ignore_errors=True)


def run(environment, *command):
    """Return what a command prints."""
    return subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    ).stdout


def free_ports(n):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def wait_until(condition, folder):
    end = time.monotonic() + 60
    while not condition():
        if time.monotonic() > end:
            logs = [f"{p.name}:\n{p.read_text()[-2000:]}" for p in folder.glob("*.[ol][ou][tg]")]
            raise TimeoutError("SLURM did not start.\n" + "\n".join(logs))
        time.sleep(0.2)
