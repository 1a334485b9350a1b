"""Searching settings by the accuracy on a validation split, trials being jobs of their own."""

import json
import subprocess
import sys

import pytest
import yaml
from command_line import pade_bench, refusal

SHORT = (
    "activation=relu", "data.batch_size=512", "trainer.max_epochs=1", "trainer.accelerator=cpu",
    "data.validation=400",
)  # fmt: skip
SEARCH = ("-m", "hydra/sweeper=optuna", *SHORT)


@pytest.fixture(autouse=True)
def with_optuna():
    pytest.importorskip("optuna")


def records(folder):
    found = {}
    for path in folder.glob("runs/digits_lenet/*/*/record.json"):
        record = json.loads(path.read_text())
        found[record["changes"].get("optim.weights.lr"), record["seed"]] = record
    return found


@pytest.mark.slow
def test_the_best_is_that_of_the_validation_split_and_a_diverged_trial_is_a_failed_one(tmp_path):
    search = (*SEARCH, "hydra.sweeper.n_trials=3", "optim.weights.lr=0.004,1e9")
    result = pade_bench(*search, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    found = records(tmp_path)
    assert {lr: r["status"] for (lr, _), r in found.items()} == {
        0.004: "finished", 1e9: "diverged",
    }  # fmt: skip
    (path,) = tmp_path.glob("runs/.sweeps/*/optimization_results.yaml")
    assert yaml.safe_load(path.read_text()) == {
        "name": "optuna",
        "best_params": {"optim.weights.lr": "0.004"},
        "best_value": found[0.004, 0]["validation_accuracy"],
    }
    assert "best: optim.weights.lr=0.004" in result.stdout
    times = {p: p.stat().st_mtime_ns for p in tmp_path.glob("runs/*/*/*/record.json")}
    again = pade_bench(*search, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "epoch 1" not in again.stdout
    assert times == {p: p.stat().st_mtime_ns for p in tmp_path.glob("runs/*/*/*/record.json")}


@pytest.mark.slow
def test_the_same_command_makes_the_same_trials(tmp_path):
    lists = []
    for seed in (0, 0, 1):
        command = (
            *SEARCH, "hydra.sweeper.n_jobs=3", f"hydra.sweeper.seed={seed}", "dry_run=true",
            "optim.weights.lr=tag(log,interval(1e-4,1e-1))", "data.batch_size=256,512",
        )  # fmt: skip
        result = pade_bench(*command, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        lists.append(result.stdout)
    assert lists[0] == lists[1] != lists[2]
    assert lists[0].count("missing  digits_lenet/relu-") == 3
    assert "20 trials in all" in lists[0]


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (("optim.weights.lr=0.1,0.2", "data.validation=0"), "add data.validation=5000"),
        ((), "nothing is searched. Give a setting several values"),
        (("optim.weights.lr=interval(0.2,0.1)",), "optim.weights.lr=interval(0.2,0.1): "),
        (("optim.weights.lr=-1,-2",), "optim.weights.lr=-"),
        (("optim.weights.lr=1,2", "hydra.sweeper.n_trials=0"), "hydra.sweeper.n_trials=0: must"),
        (("optim.weights.lr=1,2", "hydra.sweeper.trials=3"), "hydra.sweeper.trials is not a"),
        (("optim.weights.lr=tag(lgo,interval(0.1,0.2))",), "an interval has no tag lgo: log is"),
        (("seed=0,1",), "seed: a search would choose the luckiest of seeds"),
    ],
)
def test_a_search_that_cannot_be_is_refused(overrides, complaint, tmp_path):
    code, errors = refusal(*SEARCH, *overrides, cwd=tmp_path)
    assert code == 2
    assert complaint in errors
    assert not (tmp_path / "runs" / "digits_lenet").exists()


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("data.validation=300", "is hydra.sweeper.validation."),
        ("optim.weights.lr=0.1", "'hydra.sweeper.search={optim.weights.lr:"),
        ("hydra.sweeper.validation=0", "add hydra.sweeper.validation=5000"),
    ],
)
def test_a_tuned_sweep_refuses_what_its_search_decides(override, complaint, tmp_path):
    code, errors = refusal("sweep=tuned", "activation=relu", override, cwd=tmp_path)
    assert code == 2
    assert complaint in errors
    assert not (tmp_path / "runs" / "mnist_lenet").exists()


def test_a_search_is_not_taken_for_one_run(tmp_path):
    code, errors = refusal("hydra/sweeper=optuna", "data.validation=400", cwd=tmp_path)
    assert code == 2
    assert errors == "pade_bench: hydra/sweeper=optuna searches with -m alone: add it.\n"


def test_a_missing_package_is_named_and_only_a_search_needs_it(tmp_path):
    code = "import sys; sys.modules['optuna'] = None\nfrom pade_bench.__main__ import main; main()"
    for arguments, expected in ((SEARCH, 2), (("-m", "seed=0,1"), 0)):
        result = subprocess.run(
            [sys.executable, "-c", code, *arguments, "optim.weights.lr=0.1,0.2", "dry_run=true"],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert result.returncode == expected, result.stderr
        assert ("pip install 'pade_bench[search]'" in result.stderr) == bool(expected)


def test_a_cell_of_a_tuned_sweep_is_a_combination_of_all_but_seeds(tmp_path):
    command = (
        "sweep=tuned", "experiment=digits_lenet", "activation=relu,pau", "data.batch_size=64,128",
        "hydra.sweeper.validation=400", "dry_run=true",
    )  # fmt: skip
    result = pade_bench(*command, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("missing  digits_lenet/") == 4
    assert "40 trials in all" in result.stdout
    assert "20 final runs on all training images" in result.stdout


@pytest.mark.slow
def test_every_activation_gets_the_same_search_and_then_seeds_of_its_own(tmp_path):
    command = (
        "sweep=tuned", "experiment=digits_lenet", "activation=relu,pau", "seed=1,2",
        "hydra.sweeper.n_trials=2", "hydra.sweeper.validation=400", "trainer.max_epochs=1",
        "data.batch_size=512", "trainer.accelerator=cpu",
    )  # fmt: skip
    result = pade_bench(*command, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    found = [
        json.loads(path.read_text()) for path in tmp_path.glob("runs/digits_lenet/*/*/record.json")
    ]
    for activation in ("relu", "pau"):
        of_it = [r for r in found if r["activation"] == activation]
        trials = [r for r in of_it if r["changes"].get("data.validation")]
        final = [r for r in of_it if not r["changes"].get("data.validation")]
        assert [r["seed"] for r in trials] == [0, 0]
        assert sorted(r["seed"] for r in final) == [1, 2]
        best = max(trials, key=lambda r: r["validation_accuracy"])
        assert {r["changes"]["optim.weights.lr"] for r in final} == {
            best["changes"]["optim.weights.lr"]
        }
    assert "2 of 2" in result.stdout
    # One verdict, although each activation has a rate of its own.
    assert result.stdout.count("Digits, LeNet, ") == 1
    assert " over 2 seeds" in result.stdout or " each of 2 seeds" in result.stdout
    (path,) = tmp_path.glob("runs/.sweeps/*/tuned_results.yaml")
    written = yaml.safe_load(path.read_text())
    assert [cell["activation"] for cell in written] == ["relu", "pau"]
    for cell in written:
        final = {r["test_accuracy"] for r in found if r["activation"] == cell["activation"]
                 and not r["changes"].get("data.validation")}  # fmt: skip
        assert set(cell["test_accuracy"].values()) == final


def test_the_seed_of_the_search_is_not_one_of_the_final_runs(tmp_path):
    code, errors = refusal("sweep=tuned", "seed=0,1", cwd=tmp_path)
    assert code == 2
    assert "seed=0 is that of the search" in errors
