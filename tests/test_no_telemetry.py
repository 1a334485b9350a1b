"""Nothing is sent anywhere, and what listens listens to this machine alone."""

import contextlib
import importlib.util
import ipaddress
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

# Python imports this in every process that it starts, Ray's own too, before anything else.
WATCH = """
import os, sys
def watch(event, arguments):
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    with open(os.environ["WATCHED"], "a") as file:
        print(host if isinstance(host, str) else repr(host), file=file)
sys.addaudithook(watch)
"""


@pytest.fixture
def watched(tmp_path):
    """Return a function that runs the command line and returns the hosts it looked for."""
    (tmp_path / "watch").mkdir()
    (tmp_path / "watch" / "sitecustomize.py").write_text(WATCH)

    def watched(*arguments, **environment):
        hosts = tmp_path / "hosts"
        hosts.write_text("")
        result = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env={
                **os.environ, "PYTHONPATH": str(tmp_path / "watch"), "WATCHED": str(hosts),
                **environment,
            },
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        return {host for host in hosts.read_text().splitlines() if not is_this_machine(host)}

    return watched


def is_this_machine(host):
    if host in ("", "None", "localhost", socket.gethostname()):
        return True
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(host)
        return address.is_loopback or address.is_unspecified or own_address(host)
    return False


def own_address(host):
    """Tell whether an address is one of this machine's: only those can be listened on."""
    with contextlib.suppress(OSError), socket.socket() as s:
        s.bind((host, 0))
        return True
    return False


def test_the_watch_sees_what_would_be_sent(watched):
    code = (
        "import socket, contextlib\nwith contextlib.suppress(OSError):\n"
        "    socket.getaddrinfo('telemetry.invalid', 443)"
    )
    assert watched("-c", code) == {"telemetry.invalid"}


def test_a_run_looks_for_no_other_machine(watched):
    assert watched("-m", "pade_bench", "activation=relu", "trainer.max_epochs=1") == set()


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")
def test_a_sweep_with_ray_looks_for_no_other_machine(watched):
    sweep = ("-m", "pade_bench", "-m", "hydra/launcher=ray", "activation=relu", "seed=1,2")
    # Reports are due every hour: here, one would come while the sweep is still there to see it.
    found = watched(*sweep, "trainer.max_epochs=1", RAY_USAGE_STATS_REPORT_INTERVAL_S="1")
    # Ray finds out by a UDP socket that sends nothing which of this machine's addresses is its own,
    # and asks the machine's own cloud, if it is in one, which it is. Neither can be switched off.
    assert found <= {
        "8.8.8.8", "2001:4860:4860::8888", "169.254.169.254", "metadata.google.internal",
    }  # fmt: skip


def test_tensorboard_listens_to_this_machine_alone(tmp_path):
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "tensorboard.main", "--logdir", str(tmp_path), "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + 60
        while not (listening := addresses(port)):
            assert time.monotonic() < end, "TensorBoard does not listen"
            assert process.poll() is None
            time.sleep(0.2)
        assert listening <= {"127.0.0.1", "::1"}
    finally:
        process.terminate()
        process.wait()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


def addresses(port):
    """Return the addresses on which somebody listens to a TCP port, as the kernel lists them."""
    found = set()
    for name, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            address, _, number = local.partition(":")
            if int(number, 16) == port and state == "0A":  # LISTEN
                words = [address[i : i + 8] for i in range(0, len(address), 8)]
                raw = b"".join(int(word, 16).to_bytes(4, sys.byteorder) for word in words)
                found.add(socket.inet_ntop(family, raw))
    return found
