"""What several tests need: runs composed as the command line composes them."""

import pytest
from browser import chromium
from hydra import initialize_config_module
from synthetic_runs import Runs

from pade_bench.config.compose import compose, register
from pade_bench.runs.chain import chain


@pytest.fixture
def make_runs(tmp_path):
    """Return a function from overrides to the runs that they describe, below ``tmp_path``."""
    register()

    def make(*overrides):
        with initialize_config_module("pade_bench.configs", version_base="1.3"):
            return chain(compose([f"runs_dir={tmp_path / 'runs'}", *overrides]))

    return make


@pytest.fixture
def make_run(make_runs):
    """Return a function from overrides to the run that they describe, below ``tmp_path``."""
    return lambda *overrides: make_runs(*overrides)[-1]


@pytest.fixture
def tiny_run(make_run):
    """Return a function that makes a run of LeNet on the digits, two short epochs long."""

    def make(*overrides):
        return make_run("experiment=digits_lenet", "trainer.max_epochs=2", *overrides)

    return make


@pytest.fixture
def fit_until(monkeypatch):
    """Return a function that trains a run until something ends it before a step of an epoch."""
    from pade_bench.training import fit
    from pade_bench.training.module import Classifier

    class Interrupted(Exception):
        """Stands for the end of the process."""

    def train(run, epoch, step):
        training_step = Classifier.training_step

        def interrupt(self, batch, index):
            if (self.current_epoch, index) == (epoch, step):
                raise Interrupted
            return training_step(self, batch, index)

        with monkeypatch.context() as patch:
            patch.setattr(Classifier, "training_step", interrupt)
            with pytest.raises(Interrupted):
                fit(run)

    return train


@pytest.fixture
def runs(tmp_path):
    """Return an empty runs directory and the means to fill it with synthetic runs."""
    return Runs(tmp_path / "runs")


@pytest.fixture(scope="session")
def browser():
    """Return a window of a headless Chromium; skip the test where there is none."""
    with chromium() as window:
        yield window
