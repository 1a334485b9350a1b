"""What renaming a setting, or adding one, means for runs that were made before."""

import pytest

from pade_bench.config import history
from pade_bench.config.history import Renamed

OLD = {
    "activation": {"_target_": "a.Unit", "degrees": [5, 4], "denominator": "sum"},
    "optim": {"optimizer": "adam", "momentum": 0.0},
}
NEW = {
    "activation": {"_target_": "a.Unit", "degrees": [5, 4], "form": "sum"},
    "optim": {"_target_": "torch.optim.Adam"},
}
OLD_SETTINGS = {"activation._target_": "a.Unit", "activation.denominator": "sum",
                "optim.optimizer": "adam", "optim.momentum": 0.0}  # fmt: skip
NEW_SETTINGS = {"activation._target_": "a.Unit", "activation.form": "sum",
                "optim._target_": "torch.optim.Adam"}  # fmt: skip


@pytest.fixture(autouse=True)
def changes(monkeypatch):
    renamed = (
        Renamed("activation", "denominator", "form", targets=("a.Unit",)),
        Renamed("optim", "optimizer", "_target_", values={"adam": "torch.optim.Adam"}),
    )
    monkeypatch.setattr(history, "RENAMED", renamed)
    monkeypatch.setattr(history, "ADDED", {"trainer.tf32": "convolutions"})


def test_a_stored_configuration_is_read_with_todays_names_in_their_places():
    assert history.current(OLD) == NEW
    assert list(history.current(OLD)["activation"]) == list(NEW["activation"])
    assert history.current(NEW) == NEW
    assert "denominator" in OLD["activation"]


def test_what_a_record_says_is_changed_gets_todays_names():
    assert history.current_changes({"activation.denominator": 3}, "unit") == {"activation.form": 3}
    other = {"activation.denominator": 3}
    assert history.current_changes(other, "mine") == other
    changes = history.current_changes({"optim.optimizer": "adam"}, "mine")
    assert changes == {"optim._target_": "torch.optim.Adam"}


def test_a_run_is_hashed_by_the_names_of_0_1():
    assert history.historic(NEW_SETTINGS) == OLD_SETTINGS


def test_another_class_with_an_argument_of_that_name_is_left_alone():
    other = {"activation": {"_target_": "mine.Unit", "denominator": 3}}
    assert history.current(other) == other
    settings = {"activation._target_": "mine.Unit", "activation.form": 3}
    assert history.historic(settings) == settings


def test_values_that_were_not_renamed_stay():
    assert history.historic({"optim._target_": "mine.Lion"}) == {"optim.optimizer": "mine.Lion"}


def test_a_missing_setting_counts_as_its_default_which_changes_no_hash():
    assert history.completed({"seed": 0}) == {"seed": 0, "trainer.tf32": "convolutions"}
    assert history.historic(history.completed({"seed": 0})) == {"seed": 0}
    assert history.historic({"trainer.tf32": "all"}) == {"trainer.tf32": "all"}
