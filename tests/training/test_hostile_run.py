"""A run folder from a stranger, or a damaged one: no code runs, and nothing false is believed."""

import io
import random
import shutil
import subprocess
import sys
import zipfile

import pytest
import torch
from stored_run import forge_checkpoint, forge_config, forge_record

from pade_bench import load_run
from pade_bench.errors import DamagedError, PadeBenchError, RunError
from pade_bench.evaluate import main as evaluate
from pade_bench.runs.record import Record
from pade_bench.training import fit
from pade_bench.training.checkpoints import read_checkpoint


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return the directory of a finished run of two epochs."""
    folder = tmp_path_factory.mktemp("trained")
    command = [sys.executable, "-m", "pade_bench", "activation=pau", "trainer.max_epochs=2"]
    subprocess.run([*command, "trainer.accelerator=cpu"], cwd=folder, check=True)
    (home,) = folder.glob("runs/digits_lenet/pau-*/seed0")
    return home


@pytest.fixture
def home(trained, tmp_path):
    """Return a copy of it."""
    shutil.copytree(trained, tmp_path / "seed0")
    return tmp_path / "seed0"


# Names that import a file of the run folder, if they are resolved again after they were checked.
HIDDEN = {
    "interpolation": "${oc.select:runs_dir,torch.nn}.evil.X",
    "another setting": "${seed}.evil.X",
    "relative": "..evil.X",
    "empty": "",
    "text": "torch.nn.",
    "escaped": "\\${seed}.evil.X",
    "number": 5,
    "list": ["torch.nn.ReLU"],
    "function": "torch.nn.init.ones_",
    "module": "torch.nn.functional",
    "not a class of the package": "torch.nn.modules.module.os",
    "abstract": "torch.nn.Module",
}


@pytest.mark.parametrize("group", ["activation", "model", "data"])
@pytest.mark.parametrize("target", HIDDEN.values(), ids=HIDDEN)
def test_no_name_in_a_configuration_imports_a_file_of_the_folder(
    home, monkeypatch, capsys, group, target
):
    canary = home.parent / "canary"
    (home.parent / "evil.py").write_text(f"open({str(canary)!r}, 'w')\nX = None\n")
    (home.parent / "evil").mkdir()
    (home.parent / "evil" / "X.py").write_text(f"open({str(canary)!r}, 'w')\n")
    monkeypatch.chdir(home.parent)
    monkeypatch.syspath_prepend(str(home.parent))

    def change(config):
        config[group]["_target_"] = target
        del config["runs_dir"]

    forge_config(home, change)
    with pytest.raises(PadeBenchError):
        load_run(home)
    assert evaluate([str(home)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("pade_bench.evaluate: ")
    assert not canary.exists()


IMPOSSIBLE = {
    "unknown key": lambda config: config["activation"].update(frequency=3),
    "self": lambda config: config["activation"].update(self=3),
    "self of the data": lambda config: config["data"].update(self=3),
    "seed of the data": lambda config: config["data"].update(seed=3),
    "text for a number": lambda config: config["data"].update(batch_size="many"),
    "no batches": lambda config: config["data"].update(batch_size=0),
    "list for a text": lambda config: config["data"].update(root=[1]),
    "no model": lambda config: config.pop("model"),
    "model is a text": lambda config: config.update(model="pade_bench.models.LeNet"),
    "four terabytes": lambda config: config.update(
        activation={"_target_": "torch.nn.Linear", "in_features": 2**20, "out_features": 2**20}
    ),
    "four exabytes": lambda config: config.update(
        activation={"_target_": "torch.nn.Linear", "in_features": 2**30, "out_features": 2**30}
    ),
    "degrees": lambda config: config["activation"].update(degrees=[10**9, 4]),
    "negative seed": lambda config: config.update(seed=-1),
    "huge seed": lambda config: config.update(seed=10**30),
    "text for a flag": lambda config: config["trainer"].update(channels_last="perhaps"),
}


@pytest.mark.parametrize("change", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_an_impossible_configuration_gives_one_line(home, capsys, change):
    forge_config(home, change)
    with pytest.raises(PadeBenchError) as error:
        load_run(home)
    assert "\n" not in str(error.value)
    assert evaluate([str(home)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def weights(checkpoint):
    return checkpoint["state_dict"]


def first(checkpoint):
    return next(iter(weights(checkpoint)))


FALSE_WEIGHTS = {
    "other content": lambda c: (c.clear(), c.update(hello=1)),
    "no weights": lambda c: c.pop("state_dict"),
    "weights in a list": lambda c: c.update(state_dict=list(weights(c).values())),
    "missing layer": lambda c: weights(c).pop(first(c)),
    "another layer": lambda c: weights(c).update(more=torch.zeros(3)),
    "other shape": lambda c: weights(c).update({first(c): torch.zeros(6, 1, 3, 3)}),
    "half precision": lambda c: weights(c).update({k: v.half() for k, v in weights(c).items()}),
    "double precision": lambda c: weights(c).update({first(c): weights(c)[first(c)].double()}),
    "no tensor": lambda c: weights(c).update({first(c): 3}),
    "sparse": lambda c: weights(c).update({first(c): weights(c)[first(c)].to_sparse()}),
    "NaN": lambda c: weights(c)[first(c)].fill_(float("nan")),
    "infinity": lambda c: weights(c)[first(c)].view(-1)[3:4].fill_(float("inf")),
    "no history": lambda c: c.pop("history"),
    "history of texts": lambda c: c["history"].update(train_loss=["1", "2"]),
    "history with NaN": lambda c: c["history"].update(train_loss=[1.0, float("nan")]),
    "empty history": lambda c: c.update(history={k: [] for k in c["history"]}),
    "unequal histories": lambda c: c["history"]["seconds"].append(1.0),
    "impossible accuracy": lambda c: c["history"].update(test_accuracy=[101.0, 5.0]),
    "of another seed": lambda c: c["run"].update(seed=1),
    "of other settings": lambda c: c["run"].update(config_hash="0" * 64),
    "no identity": lambda c: c.update(run=3),
    "diverged": lambda c: c.update(diverged=True),
}
FALSE_PROGRESS = {
    "no loops": lambda c: c.pop("loops"),
    "loops in a list": lambda c: c.update(loops=[]),
    "another epoch": lambda c: c.update(epoch=5),
    "loops of another epoch": lambda c: c["loops"]["fit_loop"]["epoch_progress"]["current"].update(
        ready=9, processed=9
    ),
    "in the middle of an epoch": lambda c: c["loops"]["fit_loop"][
        "epoch_loop.batch_progress"
    ].update(is_last_batch=False),
    "no optimizer": lambda c: c.pop("optimizer_states"),
    "two optimizers": lambda c: c.update(optimizer_states=2 * c["optimizer_states"]),
    "optimizer of another network": lambda c: c["optimizer_states"][0]["param_groups"].pop(),
    "momentum of another shape": lambda c: c["optimizer_states"][0]["state"][0].update(
        exp_avg=torch.zeros(5, 5, 5)
    ),
    "momentum of no parameter": lambda c: c["optimizer_states"][0]["state"].update({99: {}}),
    "no learning rates": lambda c: c.update(lr_schedulers=[]),
    "a million threads": lambda c: c.update(threads=10**6),
    "version": lambda c: c.update({"pytorch-lightning_version": [3]}),
    "callbacks": lambda c: c.update(callbacks=5),
}


@pytest.mark.parametrize("change", FALSE_WEIGHTS.values(), ids=FALSE_WEIGHTS)
def test_a_checkpoint_that_is_not_the_networks_gives_one_line(home, capsys, change):
    forge_checkpoint(home / "last.ckpt", change)
    with pytest.raises(RunError, match=r"last\.ckpt does not fit the network") as error:
        load_run(home)
    assert "\n" not in str(error.value)
    assert evaluate([str(home)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    "change",
    [*FALSE_WEIGHTS.values(), *FALSE_PROGRESS.values()],
    ids=[*FALSE_WEIGHTS, *FALSE_PROGRESS],
)
def test_resuming_sets_such_a_checkpoint_aside_and_goes_on_from_the_good_one(
    tiny_run, trained, capsys, change
):
    run = tiny_run("activation=pau", "trainer.accelerator=cpu")
    shutil.copytree(trained, run.directory)
    shutil.copy(run.checkpoint, run.previous_checkpoint)
    (run.directory / "record.json").rename(run.directory.parent / "record.json")
    forge_checkpoint(run.checkpoint, change)
    record = fit(run)
    said = capsys.readouterr().out
    assert "last.ckpt is damaged (" in said
    assert len(list(run.directory.glob("last.ckpt.damaged-*"))) == 1
    assert "epoch 1/2" not in said
    assert len(list(run.directory.glob("*.damaged-*"))) == 1
    before = Record.read(run.directory.parent / "record.json")
    assert record.test_accuracy_per_epoch == before.test_accuracy_per_epoch


def test_a_forged_number_of_epochs_leaves_no_record(tiny_run, trained):
    run = tiny_run("activation=pau", "trainer.accelerator=cpu", "trainer.max_epochs=3")
    shutil.copytree(trained, run.directory)
    for name in ("record.json", "config.yaml"):
        (run.directory / name).unlink()

    def change(checkpoint):
        checkpoint["run"] = run.identifier
        checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["completed"] = 3

    forge_checkpoint(run.checkpoint, change)
    try:
        record = fit(run)
    except RunError:
        assert not (run.directory / "record.json").exists()
    else:
        assert record.epochs == 3


def without_digest(path):
    """Rewrite a checkpoint as 0.1 wrote it."""
    checkpoint = torch.load(path, weights_only=True)
    del checkpoint["run"]
    torch.save(checkpoint, path)


def flip(content, bit):
    flipped = bytearray(content)
    flipped[bit // 8] ^= 1 << bit % 8
    return bytes(flipped)


def test_every_flipped_bit_of_a_checkpoint_is_noticed(home):
    path = home / "last.ckpt"
    content = path.read_bytes()
    # All of the directory of the archive, and some of the rest.
    start = content.index(b"PK\1\2")
    bits = random.Random(0).sample(range(8 * start), 40)
    bits += random.Random(1).sample(range(8 * start, 8 * len(content)), 200)
    expected = read_checkpoint(path)["state_dict"]
    for bit in bits:
        path.write_bytes(flip(content, bit))
        try:
            found = read_checkpoint(path)["state_dict"]
        except DamagedError:
            continue
        assert all(torch.equal(found[k], v) for k, v in expected.items()), bit


def test_flipped_bits_of_a_checkpoint_without_a_digest_change_no_weight(home):
    path = home / "last.ckpt"
    without_digest(path)
    content = path.read_bytes()
    expected = read_checkpoint(path)["state_dict"]
    entries = [i for i in range(len(content)) if content[i : i + 4] == b"PK\1\2"]
    # Which is where one bit makes torch return memory that nobody has written.
    bits = [8 * (entry + 38) + bit for entry in entries[::7] for bit in range(32)]
    for bit in bits:
        path.write_bytes(flip(content, bit))
        try:
            found = read_checkpoint(path)["state_dict"]
        except DamagedError:
            continue
        assert all(torch.equal(found[k], v) for k, v in expected.items()), bit


def test_a_checkpoint_that_unpacks_to_more_than_it_is_is_refused(home):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10**8))
    (home / "last.ckpt").write_bytes(content.getvalue())
    with pytest.raises(DamagedError, match="compressed"):
        load_run(home)


def test_a_checkpoint_much_longer_than_the_networks_is_not_read(home):
    with open(home / "last.ckpt", "r+b") as file:
        file.truncate(10**12)
    with pytest.raises(DamagedError, match="1,000,000,000,000 bytes, more than"):
        load_run(home)


def test_a_file_of_lightnings_own_is_not_resumed(tiny_run, trained, monkeypatch):
    run = tiny_run("activation=pau", "trainer.accelerator=cpu")
    run.directory.mkdir(parents=True)
    shutil.copy(trained / "last.ckpt", run.directory / "hpc_ckpt_1.ckpt")
    names = ("NTASKS", "JOB_ID", "PROCID", "LOCALID", "NODEID", "NTASKS_PER_NODE")
    for name, value in zip(names, "110001", strict=True):
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setenv("SLURM_JOB_NAME", "x")
    with pytest.raises(RunError, match=r"hpc_ckpt_1\.ckpt is not a checkpoint that this run"):
        fit(run)


def test_a_record_of_another_run_is_refused(home, capsys):
    forge_record(home, lambda record: record.update(config_hash="0" * 64))
    assert evaluate([str(home)]) == 2
    assert "holds a run with other settings" in capsys.readouterr().err
