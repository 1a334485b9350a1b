"""A run has one home, and nothing in it is lost."""

import dataclasses
import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf
from synthetic_runs import make_record

from pade_bench.config.compose import Composed, parse
from pade_bench.config.fields import to_plain
from pade_bench.errors import ConfigurationError, DamagedError, RunError
from pade_bench.runs import files, home
from pade_bench.runs.config_file import with_digest
from pade_bench.runs.files import write_atomically
from pade_bench.runs.home import Run, identity

NAMES = {"experiment": "exp", "data": "d", "model": "m", "activation": "pau"}


def settings(tmp_path, **changes):
    """Return a configuration with some settings changed, given as a__b=value."""
    group = {"lr": 0.1}
    plain = {
        "data": {"_target_": "d", "root": "data"},
        "model": {"_target_": "m"},
        "activation": {"_target_": "a"},
        "optim": {"_target_": "o", "weights": group, "pade_coefficients": group},
        "trainer": {"max_epochs": 3},
        "runs_dir": str(tmp_path),
    }
    config = OmegaConf.create(plain)
    for key, value in changes.items():
        OmegaConf.update(config, key.replace("__", "."), value)
    return parse(config)


def make(tmp_path, **changes):
    """Return a run with some settings changed."""
    return Run.of(Composed(settings(tmp_path, **changes), settings("runs"), NAMES))


def record_of(run, accuracy=50.0):
    of = {**run.names, **run.identifier, "changes": run.changes, "settings": identity(run.config)}
    return dataclasses.replace(make_record("exp", "pau", 0, accuracy), **of)


def finish(run, accuracy=50.0):
    with run.claim():
        run.write_record(record_of(run, accuracy))


def test_home_is_named_by_experiment_activation_and_seed(tmp_path):
    assert make(tmp_path, seed=4).directory == tmp_path / "exp" / "pau" / "seed4"


def test_changed_settings_give_another_home_whatever_their_order(tmp_path):
    a = make(tmp_path, optim__weights__lr=0.2, trainer__max_epochs=5)
    b = make(tmp_path, trainer__max_epochs=5, optim__weights__lr=0.2)
    assert a.directory == b.directory
    assert a.directory.parent.name.startswith("pau-")
    assert a.directory != make(tmp_path, optim__weights__lr=0.2).directory


PLACES = {
    "data.root": "other", "data.workers": 3, "trainer.accelerator": "cpu",
    "trainer.progress_bar": False, "trainer.cuda_graph": False, "restart": True, "dry_run": True,
    "fail_fast": True,
    "logger": {"csv": {"_target_": "pade_bench.training.loggers.CSVLogger"}},
}  # fmt: skip


def test_where_a_run_is_made_are_settings_of_place():
    assert {*PLACES, "runs_dir"} == set(home.PLACE_SETTINGS)


@pytest.mark.parametrize("key", PLACES)
def test_where_a_run_is_made_does_not_change_its_home(tmp_path, key):
    elsewhere = make(tmp_path, **{key.replace(".", "__"): PLACES[key]})
    assert elsewhere.directory == make(tmp_path).directory
    assert elsewhere.config_hash == make(tmp_path).config_hash


def test_a_run_made_before_a_setting_was_renamed_keeps_its_home_and_hash(tmp_path, make_run):
    # Computed by commit 9ceaa81, where activation.form was called activation.denominator.
    run = make_run("activation=pau", "activation.form=sum_of_abs")
    assert run.directory == tmp_path / "runs/digits_lenet/pau-4e0f6308/seed0"
    assert run.config_hash == "b9d568a103871c74881a661f67c2719da1790ccb0370dc972a71f1cd5b51db48"
    old = to_plain(run.config)
    old["activation"]["denominator"] = old["activation"].pop("form")
    run.directory.mkdir(parents=True)
    (run.directory / "config.yaml").write_text(yaml.safe_dump(old))
    finish(run)  # not refused for other settings
    assert run.record().test_accuracy == 50.0


def test_seeds_share_the_config_hash(tmp_path):
    assert make(tmp_path, seed=1).config_hash == make(tmp_path, seed=2).config_hash
    assert make(tmp_path, seed=1).directory != make(tmp_path, seed=2).directory


def test_a_record_is_read_back(tmp_path):
    run = make(tmp_path)
    assert run.record() is None
    finish(run)
    assert make(tmp_path).record().test_accuracy == 50.0


def test_a_home_with_other_settings_is_refused_with_the_difference(tmp_path):
    finish(make(tmp_path))
    config = settings(tmp_path, optim__weights__lr=0.7)
    edited = Run.of(Composed(config, config, NAMES))  # as if the experiment's file had been edited
    for attempt in (edited.record, lambda: edited.claim().__enter__()):
        with pytest.raises(RunError, match=r"optim\.weights\.lr was 0\.1, is 0\.7"):
            attempt()
    assert make(tmp_path).record().test_accuracy == 50.0


def change_a_digit(text):
    return text.replace("50.0", "51.0")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda text: text[:20], "is no JSON"),
        (change_a_digit, "does not have its checksum"),
        (lambda text: "[]", "is no dictionary"),
    ],
    ids=["half", "edited", "other"],
)
def test_a_damaged_record_is_detected_kept_aside_and_named(tmp_path, capsys, damage, reason):
    run = make(tmp_path)
    finish(run)
    path = run.directory / "record.json"
    damaged = damage(path.read_text())
    path.write_text(damaged)
    with pytest.raises(DamagedError, match=rf"record\.json is damaged \(.*{reason}"):
        run.record()
    assert path.read_text() == damaged  # reading alone moves nothing
    with make(tmp_path).claim():
        assert make(tmp_path).record() is None
    (aside,) = run.directory.glob("record.json.damaged-*")
    assert aside.read_text() == damaged
    assert aside.name in capsys.readouterr().out


def test_a_record_from_before_there_were_checksums_is_read(tmp_path):
    run = make(tmp_path)
    finish(run)
    path = run.directory / "record.json"
    record = json.loads(path.read_text())
    del record["checksum"]
    path.write_text(json.dumps(record))
    assert run.record().test_accuracy == 50.0
    assert not run.record().verified


def test_restart_moves_the_old_run_aside_and_deletes_nothing(tmp_path):
    finish(make(tmp_path))
    with make(tmp_path, restart=True).claim():
        assert make(tmp_path).record() is None
    (aside,) = tmp_path.glob("exp/pau/seed0.before-*")
    assert json.loads((aside / "record.json").read_text())["test_accuracy"] == 50.0
    assert (aside / "config.yaml").exists()


def test_a_second_process_is_told_who_holds_the_run(tmp_path):
    run = make(tmp_path)
    with run.claim():
        attempt = subprocess.run(
            [sys.executable, "-c", HOLD.format(tests=Path(__file__).parent, home=tmp_path)],
            capture_output=True,
            text=True,
            check=False,
        )
    assert f"is being trained by process {os.getpid()}" in attempt.stderr


def test_the_lock_of_a_killed_process_does_not_stay(tmp_path):
    code = HOLD.format(tests=Path(__file__).parent, home=tmp_path) + "os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    with make(tmp_path).claim():
        pass


def test_a_process_forked_by_the_training_does_not_hold_the_run(tmp_path):
    processes = multiprocessing.get_context("fork")
    started, over = processes.Event(), processes.Event()

    def work():
        started.set()
        over.wait()

    with make(tmp_path).claim():
        child = processes.Process(target=work)
        child.start()
        started.wait()
    try:
        with make(tmp_path).claim():
            assert child.is_alive()
    finally:
        over.set()
        child.join()


HOLD = """
import os, sys
sys.path[:0] = ["{tests}", "{tests}/.."]
import pathlib, test_home
claim = test_home.make(pathlib.Path("{home}")).claim()
claim.__enter__()
"""


def test_the_file_before_is_kept_where_that_is_wanted(tmp_path):
    path, before = tmp_path / "last.ckpt", tmp_path / "previous.ckpt"
    for content in (b"1", b"2", b"3"):
        write_atomically(path, content, keep_as=before)
    assert (before.read_bytes(), path.read_bytes()) == (b"2", b"3")


def test_an_unwritable_place_is_named_before_anything_is_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match=r"Cannot write to .*file"), make(tmp_path / "file").claim():
        pass


def test_a_full_disk_leaves_the_last_good_file(tmp_path, monkeypatch):
    path = tmp_path / "record.json"
    write_atomically(path, b"good")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="No space left on device"), files.writing_to(tmp_path):
        write_atomically(path, b"half")
    assert path.read_bytes() == b"good"
    assert list(tmp_path.iterdir()) == [path]


def write_everything(run):
    with run.claim():
        run.write_progress([1.0])
        run.write_record(record_of(run))
        raise ZeroDivisionError


@pytest.mark.parametrize("name", ["record.json", "progress.json", "config.yaml", "traceback.txt"])
def test_nothing_is_written_through_a_link(tmp_path, name):
    run = make(tmp_path / "runs")
    run.directory.mkdir(parents=True)
    victim = tmp_path / "victim"
    victim.write_text("kept")
    for link in (f"{name}.partial", name if name != "config.yaml" else f"{name}.0.partial"):
        (run.directory / link).symlink_to(victim)
    with pytest.raises(ZeroDivisionError):
        write_everything(run)
    assert victim.read_text() == "kept"
    assert not (run.directory / name).is_symlink()


def test_a_configuration_that_is_a_link_is_not_read(tmp_path):
    run = make(tmp_path / "runs")
    finish(run)
    (run.directory / "config.yaml").rename(tmp_path / "config.yaml")
    (run.directory / "config.yaml").symlink_to(tmp_path / "config.yaml")
    with pytest.raises(RunError, match="is a symbolic link, not a regular file"), run.claim():
        pass


def test_a_home_behind_a_link_is_refused_but_runs_dir_may_be_one(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "runs").symlink_to("disk")
    with make(tmp_path / "runs").claim():
        pass
    (tmp_path / "runs" / "exp").rename(tmp_path / "elsewhere")
    (tmp_path / "runs" / "exp").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="exp is a symbolic link"), make(tmp_path / "runs").claim():
        pass


def test_restarting_twice_within_one_tick_of_the_clock_keeps_both(tmp_path, monkeypatch):
    monkeypatch.setattr(home, "time_stamp", lambda: "20260101-000000-0")
    for accuracy in (1.0, 2.0, 3.0):
        finish(make(tmp_path, restart=True), accuracy)
    kept = sorted(tmp_path.glob("exp/pau/seed0.before-*"))
    accuracies = [json.loads((p / "record.json").read_text())["test_accuracy"] for p in kept]
    assert accuracies == [1.0, 2.0]


def test_two_damaged_files_within_one_tick_of_the_clock_are_both_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "time_stamp", lambda: "20260101-000000-0")
    path = tmp_path / "last.ckpt"
    for content in ("a", "b"):
        path.write_text(content)
        files.set_aside(DamagedError(path, "test"))
    assert sorted(p.read_text() for p in tmp_path.iterdir()) == ["a", "b"]


def replace_lock(run):
    (run.directory / "lock").unlink()


def move_home(run):
    run.directory.rename(run.directory.with_name("moved"))


def lose_lock(run, lose, writes):
    """Hold a run, lose it to another process, and try to write; return what was there before."""
    with run.claim():
        lose(run)
        code = HOLD.format(tests=Path(__file__).parent, home=run.directory.parents[2])
        subprocess.run([sys.executable, "-c", code], check=True)
        there = {p: p.read_bytes() for p in run.directory.parent.rglob("*") if p.is_file()}
        for write in writes:
            with pytest.raises(RunError, match="another process may train the run"):
                write()
        assert there == {p: p.read_bytes() for p in run.directory.parent.rglob("*") if p.is_file()}
        writes[0]()


@pytest.mark.parametrize("lose", [replace_lock, move_home])
def test_who_has_lost_the_lock_stops_and_writes_nothing(tmp_path, lose):
    run = make(tmp_path)
    writes = (lambda: run.write_progress([1.0]), lambda: run.write_record(record_of(run)))
    with pytest.raises(RunError, match="Nothing more is written there"):
        lose_lock(run, lose, writes)
    assert not list(tmp_path.rglob("traceback.txt"))


def test_what_a_killed_process_had_half_written_goes_with_the_next_start(tmp_path):
    run = make(tmp_path)
    run.directory.mkdir(parents=True)
    left = run.directory / f"last.ckpt.{'0a' * 8}.partial"
    left.write_text("half")
    others = [run.directory / name for name in ("mine.partial", "last.ckpt.partial")]
    for path in others:
        path.write_text("kept")
    with run.claim():
        assert not left.exists()
        assert all(path.exists() for path in others)


@pytest.mark.parametrize("value", [float("inf"), float("nan"), "${seed}", "\x07", "a\nb"])
def test_a_setting_that_could_not_be_read_again_is_refused_before_training(tmp_path, value):
    run = make(tmp_path)
    escaped = value.replace("$", "\\$") if isinstance(value, str) else value
    run.config.optim.weights.lr = escaped
    with pytest.raises(ConfigurationError, match=r"^optim\.weights\.lr="), run.claim():
        pass
    assert not (run.directory / "config.yaml").exists()


def test_another_seed_in_the_configuration_is_refused(tmp_path):
    run = make(tmp_path)
    with run.claim():
        pass
    path = run.directory / "config.yaml"
    settings = [line for line in path.read_text().splitlines(True) if not line.startswith("#")]
    path.write_bytes(with_digest("".join(settings).replace("seed: 0", "seed: 4")))
    with pytest.raises(RunError, match="seed was 4, is 0"), make(tmp_path).claim():
        pass
