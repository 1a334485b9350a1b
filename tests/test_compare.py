"""The ranking on the command line."""

import json

import pytest

from pade_bench.compare import main, published
from pade_bench.runs.config_file import read_config
from pade_bench.runs.records import read_runs


def test_the_ranking_and_the_sentence_are_printed(runs, capsys):
    for seed in range(3):
        runs.finish("mnist_lenet", "relu", seed, 98 + seed / 10)
        runs.finish("mnist_lenet", "pau", seed, 99 + seed / 20)
    assert main(["--runs", str(runs.root)]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert lines[0] == "MNIST, LeNet"
    assert lines[1].split()[:2] == ["activation", "accuracy"]
    assert [line.split()[:2] for line in lines[3:5]] == [["PAU", "99.05"], ["ReLU", "98.10"]]
    assert lines[5].startswith("PAU is ahead of ReLU by 0.95 points over 3 seeds")


def test_pruned_networks_are_said_to_be_in_the_report(runs, capsys):
    for share in (0, 30):
        shares = {"prune.shares": [share] if share else []}
        runs.finish("prune_digits_lenet", "relu", 0, 98, shares, pruned_share=share)
    assert main(["--runs", str(runs.root)]) == 0
    assert "2 runs of pruning: the report compares them" in capsys.readouterr().out


def test_filters(runs, capsys):
    runs.sweep("mnist_lenet", ["relu", "pau"], seeds=2)
    runs.sweep("mnist_vgg8", ["relu", "pau", "elu"], seeds=2)
    runs.sweep("digits_lenet", ["relu", "pau"], seeds=2, changes={"trainer.max_epochs": 5})

    def output(*filters):
        assert main(["--runs", str(runs.root), *filters]) == 0
        return capsys.readouterr().out

    assert "Digits" not in output("--experiment", "mnist_lenet,mnist_vgg8")
    assert "VGG-8" not in output("--experiment", "*_lenet")
    assert "ELU" not in output("--activation", "relu", "--activation", "pau").replace("ReLU", "")
    assert "MNIST" not in output("--set", "trainer.max_epochs=5")
    assert "Digits" not in output("--set", "trainer.max_epochs=10")
    assert "Digits" in output("--set", "optim.weights.lr=0.002")


def test_a_filter_that_matches_nothing_names_the_nearest(runs, capsys):
    runs.sweep("mnist_lenet", ["relu", "pau"], seeds=2)

    def error(*filters):
        assert main(["--runs", str(runs.root), *filters]) == 2
        return capsys.readouterr().err

    assert "no run has it. Did you mean mnist_lenet?" in error("--experiment", "mnist_lent")
    assert "no run has it. Did you mean pau?" in error("--activation", "paus")
    assert "Did you mean trainer.max_epochs?" in error("--set", "trainer.max_epoch=5")
    assert "no run has that value, but 10" in error("--set", "trainer.max_epochs=5")
    assert "write it as key=value" in error("--set", "trainer.max_epochs")
    assert "nowhere is not a directory" in error("--runs", str(runs.root / "nowhere"))


def test_a_record_that_cannot_be_used_is_named(runs, capsys):
    home = runs.finish("mnist_lenet", "relu", 0)
    assert main(["--runs", str(runs.root)]) == 0
    (home / "record.json").write_text(json.dumps({}))
    assert main(["--runs", str(runs.root)]) == 1
    out, err = capsys.readouterr()
    assert "no finished runs in" in out
    assert str(home) in err


def test_a_narrow_terminal_shows_the_first_columns(runs, capsys, monkeypatch):
    monkeypatch.setattr("pade_bench.report.tables.terminal.PIPE_WIDTH", 60)
    runs.sweep("mnist_lenet", ["relu", "pau"], seeds=2, changes={"activation.init": "swish"})
    assert main(["--runs", str(runs.root)]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 60
    assert "(a wider terminal shows: " in out
    assert "95 % interval" in out


def test_of_many_settings_the_first_are_shown(runs, capsys):
    for rate in range(12):
        changes = {"optim.weights.lr": rate} if rate else None
        runs.sweep("mnist_lenet", ["relu", "pau"], seeds=2, changes=changes)
    assert main(["--runs", str(runs.root)]) == 0
    out = capsys.readouterr().out
    assert out.count("activation  ") == 10
    assert "2 more rankings of other settings" in out


def test_the_published_runs_answer_before_anybody_trains(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert (
        main(["--published", "--experiment", "mnist_lenet", "--set", "trainer.max_epochs=100"]) == 0
    )
    out = capsys.readouterr().out
    assert "PAU is ahead of ReLU by 0.12 points over 5 seeds" in out


def test_published_runs_and_a_directory_are_not_asked_for_at_once(capsys):
    with pytest.raises(SystemExit):
        main(["--published", "--runs", "runs"])
    assert "not allowed with" in capsys.readouterr().err


def test_every_published_record_has_its_checksum_and_its_configuration():
    homes = [path.parent for path in published().rglob("record.json")]
    assert len(homes) >= 10
    results, problems = read_runs(published())
    assert (len(results), problems) == (len(homes), [])
    for home in homes:
        assert "checksum" in json.loads((home / "record.json").read_text())
        assert read_config(home / "config.yaml")
