"""A run trains, resumes to the same bits, and leaves its record."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from pade_bench import ops
from pade_bench.errors import ConfigurationError, RunError
from pade_bench.runs.record import Record
from pade_bench.training import checkpoints, fit
from pade_bench.training.fit import make_classifier, make_data
from pade_bench.training.module import Classifier

RECORD_KEYS = {
    "experiment", "data", "model", "activation", "seed", "epochs", "status", "test_accuracy",
    "test_accuracy_per_epoch", "train_loss_per_epoch", "train_accuracy_per_epoch",
    "test_loss_per_epoch", "parameters", "activation_parameters",
    "wall_seconds", "config_hash", "provenance",
}  # fmt: skip


def load(run):
    return torch.load(run.checkpoint, weights_only=True)


def without_time(run):
    """Return the record of a run without wall times, origin and the checksum over these too."""
    record = json.loads((run.directory / "record.json").read_text())
    others = ("provenance", "checksum")
    return {k: v for k, v in record.items() if "wall" not in k and k not in others}


def assert_same_result(a, b):
    assert without_time(a) == without_time(b)
    weights_a, weights_b = load(a)["state_dict"], load(b)["state_dict"]
    assert weights_a.keys() == weights_b.keys()
    for name in weights_a:
        assert torch.equal(weights_a[name], weights_b[name]), name
    states = [load(run)["optimizer_states"][0]["state"] for run in (a, b)]
    for index, state in states[0].items():
        for name, value in state.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(states[1][index][name]))


def test_a_finished_run_leaves_a_complete_record(tiny_run):
    run = tiny_run("activation=pau")
    returned = fit(run)
    assert json.loads((run.directory / "record.json").read_text()).keys() >= RECORD_KEYS
    record = Record.read(run.directory / "record.json")
    assert record == returned
    assert record.status == "finished"
    assert record.epochs == len(record.test_accuracy_per_epoch) == 2
    assert record.test_accuracy == record.test_accuracy_per_epoch[-1]
    assert (record.parameters, record.activation_parameters) == (61_746, 40)
    assert record.activation_layers == 4
    assert record.train_loss_per_epoch[1] < record.train_loss_per_epoch[0]
    assert record.provenance.pade_kernel in ("reference", "cpu", "cuda")
    assert record.provenance.device
    for name in ("config.yaml", "last.ckpt", "activations.npz", "activations.png"):
        assert (run.directory / name).stat().st_size > 0
    assert list(run.directory.glob("events.out.tfevents.*"))


def test_starting_a_finished_run_again_changes_nothing(tiny_run, capsys):
    run = tiny_run("activation=relu", "trainer.max_epochs=1")
    fit(run)
    before = {p.name: p.stat().st_mtime_ns for p in run.directory.iterdir()}
    capsys.readouterr()
    fit(run)
    assert {p.name: p.stat().st_mtime_ns for p in run.directory.iterdir()} == before
    assert "is finished" in capsys.readouterr().out


@pytest.mark.parametrize("activation", ["rpau", "rrelu"])
def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(
    activation, tiny_run, tmp_path
):
    runs = [
        tiny_run(f"activation={activation}", f"runs_dir={tmp_path / name}", f"seed={seed}")
        for name, seed in (("first", 0), ("again", 0), ("other", 1))
    ]
    for run in runs:
        torch.rand(5)  # what happened before in the process must not matter
        fit(run)
    assert_same_result(runs[0], runs[1])
    losses = [without_time(run)["train_loss_per_epoch"] for run in (runs[0], runs[2])]
    assert losses[0] != losses[1]


@pytest.mark.parametrize("activation", ["pau", "rpau", "rrelu"])
@pytest.mark.parametrize("batch", [0, 7])
def test_an_interrupted_run_resumes_to_the_same_bits(
    activation, batch, tiny_run, tmp_path, fit_until
):
    more = (f"activation={activation}", "trainer.max_epochs=3", "optim.weights.lr_decay=0.9")
    whole, cut = (tiny_run(*more, f"runs_dir={tmp_path / name}") for name in ("whole", "cut"))
    fit(whole)
    fit_until(cut, epoch=2, step=batch)
    assert cut.record() is None
    fit(cut)
    assert_same_result(whole, cut)


@pytest.fixture
def begun_by(tiny_run, fit_until, monkeypatch):
    """Return a function that makes an interrupted run of a version of the units' arithmetic."""

    def begin(version, *more):
        run = tiny_run("trainer.max_epochs=2", *more)
        with monkeypatch.context() as patch:
            patch.setattr("pade_bench.training.module.NUMERICS", version)
            fit_until(run, epoch=1, step=1)
        return run

    return begin


@pytest.mark.parametrize("version", [1, ops.NUMERICS + 1])
def test_an_interrupted_run_of_other_arithmetic_is_refused_and_kept(version, begun_by):
    run = begun_by(version, "activation=rpau")
    before = {path.name: path.read_bytes() for path in run.directory.glob("*.ckpt")}
    message = (
        f"version {version} of the Padé units' arithmetic, and this is version {ops.NUMERICS}: "
    )
    with pytest.raises(RunError, match=message):
        fit(run)
    assert {path.name: path.read_bytes() for path in run.directory.glob("*.ckpt")} == before


@pytest.mark.parametrize("activation", ["pau", "relu"])
def test_an_interrupted_run_whose_arithmetic_did_not_change_goes_on(activation, begun_by):
    run = begun_by(1, f"activation={activation}")
    record = fit(run)
    number = ops.NUMERICS if activation == "pau" else None
    assert (record.status, record.provenance.pade_numerics) == ("finished", number)


@pytest.mark.slow
def test_a_process_killed_at_random_resumes_to_the_same_bits(tiny_run, tmp_path):
    settings = ["activation=rpau", "trainer.max_epochs=4"]
    whole, cut = (tiny_run(*settings, f"runs_dir={tmp_path / name}") for name in ("whole", "cut"))
    fit(whole)
    command = [sys.executable, "-m", "pade_bench", *settings, f"runs_dir={tmp_path / 'cut'}"]
    for _ in range(2):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seen = cut.checkpoint.stat().st_mtime_ns if cut.checkpoint.exists() else 0
        while process.poll() is None:
            if cut.checkpoint.exists() and cut.checkpoint.stat().st_mtime_ns > seen:
                process.send_signal(signal.SIGKILL)
            time.sleep(0.01)
        assert process.returncode == -signal.SIGKILL
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    assert_same_result(whole, cut)


def test_a_run_killed_between_its_last_checkpoint_and_its_record_only_writes_the_record(
    tiny_run,
):
    run = tiny_run("activation=pau")
    fit(run)
    before, weights = without_time(run), load(run)["state_dict"]
    (run.directory / "record.json").unlink()
    fit(run)
    assert without_time(run) == before
    for name, value in load(run)["state_dict"].items():
        assert torch.equal(value, weights[name])


def damage(path, how):
    content = bytearray(path.read_bytes())
    if how == "half":
        content = content[: len(content) // 2]
    elif how == "empty":
        content = bytearray()
    else:
        content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return content


@pytest.mark.parametrize("how", ["half", "empty", "flipped"])
def test_a_damaged_checkpoint_is_kept_and_the_one_before_it_resumed(
    how, tiny_run, fit_until, tmp_path, capsys
):
    settings = ("activation=relu", "trainer.max_epochs=3")
    whole, cut = (tiny_run(*settings, f"runs_dir={tmp_path / name}") for name in ("whole", "cut"))
    fit(whole)
    fit_until(cut, epoch=2, step=0)
    content = damage(cut.checkpoint, how)
    capsys.readouterr()
    fit(cut)
    said = capsys.readouterr().out
    (aside,) = cut.directory.glob("last.ckpt.damaged-*")
    assert aside.read_bytes() == content
    assert "last.ckpt is damaged" in said
    assert aside.name in said
    assert "resuming after epoch 1 of 3" in said
    assert_same_result(whole, cut)
    assert not cut.previous_checkpoint.exists()


def test_without_a_good_checkpoint_the_run_starts_over_and_says_so(
    tiny_run, fit_until, tmp_path, capsys
):
    whole, cut = (tiny_run(f"runs_dir={tmp_path / name}") for name in ("whole", "cut"))
    fit(whole)
    fit_until(cut, epoch=1, step=0)
    damage(cut.checkpoint, "half")
    fit(cut)
    assert "No good checkpoint is left: the run starts over." in capsys.readouterr().out
    assert_same_result(whole, cut)


def test_a_checkpoint_that_cannot_be_read_for_now_is_not_taken_for_damaged(tiny_run, monkeypatch):
    run = tiny_run()
    fit(run)
    (run.directory / "record.json").unlink()

    def fails(path, most_bytes):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "read_file", fails)
        with pytest.raises(RunError, match=r"last\.ckpt cannot be read: Input/output error"):
            fit(run)
    assert run.checkpoint.exists()


def test_a_damaged_record_is_made_again_from_the_checkpoint(tiny_run, capsys):
    run = tiny_run("activation=pau")
    fit(run)
    path = run.directory / "record.json"
    good = without_time(run)
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))
    capsys.readouterr()
    fit(run)
    assert without_time(run) == good
    (aside,) = run.directory.glob("record.json.damaged-*")
    assert '"seed": 1' in aside.read_text()
    assert "epoch 1/2" not in capsys.readouterr().out


def test_a_run_resumes_with_the_threads_it_began_with(tiny_run, fit_until, tmp_path):
    whole, cut = (tiny_run(f"runs_dir={tmp_path / name}") for name in ("whole", "cut"))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        fit(whole)
        fit_until(cut, epoch=1, step=0)
        torch.set_num_threads(1)
        assert fit(cut).provenance.threads == 2
    finally:
        torch.set_num_threads(threads)
    assert_same_result(whole, cut)


def test_a_loss_that_is_not_finite_ends_the_run_as_diverged(tiny_run):
    run = tiny_run(
        "activation=slaf", "trainer.max_epochs=4", "optim=sgd", "optim.weights.lr=1e6",
        "optim.gradient_clip_norm=null",
    )  # fmt: skip
    record = fit(run)
    assert record.status == "diverged"
    assert record.test_accuracy is None
    assert record.epochs == len(record.train_loss_per_epoch) < 4
    assert np.isfinite(record.train_loss_per_epoch).all()
    assert Record.read(run.directory / "record.json") == record


def test_activations_see_the_same_images_in_the_same_order(tiny_run, monkeypatch):
    seen = {}
    step = Classifier.training_step

    def watch(self, batch, index):
        seen.setdefault(name, []).append(batch[0].clone())
        return step(self, batch, index)

    monkeypatch.setattr(Classifier, "training_step", watch)
    for name in ("relu", "rrelu", "rpau"):
        fit(tiny_run(f"activation={name}"))
    for name in ("rrelu", "rpau"):
        for a, b in zip(seen["relu"], seen[name], strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("seed", [0, 2**32 - 1])
def test_every_seed_is_a_seed(seed, tiny_run):
    networks = []
    for _ in range(2):
        torch.rand(1)
        networks.append(make_classifier(tiny_run(f"seed={seed}")).network)
    for a, b in zip(networks[0].parameters(), networks[1].parameters(), strict=True):
        assert torch.equal(a, b)
    assert make_data(tiny_run(f"seed={seed}")) is not None


def test_the_gradient_norm_is_clipped_as_configured(tiny_run, monkeypatch):
    norms = []
    step = torch.optim.Adam.step

    def watch(self, closure=None):
        def clipped():
            loss = closure()
            gradients = [p.grad for g in self.param_groups for p in g["params"]]
            norms.append(torch.linalg.vector_norm(torch.cat([g.flatten() for g in gradients])))
            return loss

        return step(self, clipped)

    monkeypatch.setattr(torch.optim.Adam, "step", watch)
    fit(tiny_run("activation=relu", "trainer.max_epochs=1", "optim.gradient_clip_norm=0.01"))
    assert max(norms) == pytest.approx(0.01, rel=1e-3)


def test_unusable_activation_arguments_are_refused_before_the_home_exists(tiny_run):
    run = tiny_run("activation=pau", "activation.form=abs_of_sums")
    with pytest.raises(ConfigurationError, match="Did you mean 'abs_of_sum'"):
        fit(run)
    assert not run.directory.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to read-only folders")
def test_a_read_only_folder_is_named(tiny_run, tmp_path):
    (tmp_path / "runs").mkdir(mode=0o500)
    with pytest.raises(RunError, match="Permission denied"):
        fit(tiny_run())


def test_a_disk_that_fills_keeps_the_last_epoch_and_the_run_resumes(tiny_run, monkeypatch):
    run = tiny_run("activation=relu")
    real, calls = os.fsync, []

    def fills_up(descriptor):
        calls.append(descriptor)
        if len(calls) > 4:
            raise OSError(28, "No space left on device")
        return real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fills_up)
        with pytest.raises(RunError, match="No space left on device"):
            fit(run)
    assert load(run)["epoch"] == 0
    assert run.record() is None
    assert fit(run).status == "finished"


@pytest.fixture
def small_disk(tmp_path):
    """Return a folder on a disk of 2 MB, and a function that makes room there."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk")
    try:
        room = ["mount", "-o", "remount,size=20m", str(folder)]
        yield folder, lambda: subprocess.run(room, check=True)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


def test_on_a_full_disk_the_run_ends_with_an_error_and_resumes_once_there_is_room(
    small_disk, tiny_run, tmp_path
):
    disk, make_room = small_disk
    settings = ("activation=relu", "trainer.max_epochs=3")
    whole, cut = (tiny_run(*settings, f"runs_dir={place}") for place in (tmp_path / "whole", disk))
    fit(whole)
    # Two checkpoints of 0.75 MB fit there, a third beside them does not.
    for _ in range(2):
        with pytest.raises(RunError, match=r"Cannot write to .*No space left.* Make room") as error:
            fit(cut)
        assert str(cut.directory) in str(error.value)
        assert load(cut)["epoch"] == 1
        assert not list(cut.directory.glob("*.partial"))
    make_room()
    assert fit(cut).status == "finished"
    assert_same_result(whole, cut)
