"""The state of jobs, and how long those that are left will take."""

from pathlib import Path

import pytest
from synthetic_runs import make_record

from pade_bench.errors import SweepError
from pade_bench.runs import locks
from pade_bench.sweeps.jobs import Job, listing, summary, survey
from pade_bench.sweeps.outcome import conclude


@pytest.fixture
def make_job(make_run):
    """Return a function from overrides to a job and its run."""

    def make(*overrides):
        run = make_run(*overrides)
        return Job.of([run], overrides), run

    return make


def finish(run, status="finished", seconds=2.0, epochs=30, config_hash=None):
    """Leave a run as training leaves it."""
    record = make_record(
        run.names["experiment"], run.names["activation"], run.config.seed, 90.0, run.changes,
        status=status, epochs=epochs, wall_seconds_per_epoch=[seconds] * epochs,
        config_hash=config_hash or run.config_hash, settings=None,
    )  # fmt: skip
    with run.claim():
        run.write_record(record)


def interrupt(run, epochs):
    with run.claim():
        run.write_progress([2.0] * epochs)


def states(*jobs):
    return [s.state for s in survey([job for job, _ in jobs])]


def test_every_state_is_told_apart(make_job):
    jobs = [make_job(f"seed={seed}") for seed in range(6)]
    assert states(*jobs) == ["missing"] * 6
    finish(jobs[0][1])
    finish(jobs[1][1], "diverged", epochs=3)
    interrupt(jobs[2][1], 4)
    interrupt(jobs[3][1], 4)
    (jobs[3][1].directory / "traceback.txt").write_text("Traceback")
    interrupt(jobs[4][1], 4)
    with locks.hold(jobs[4][1].directory / "lock"):
        expected = ["finished", "diverged", "interrupted", "failed", "running", "missing"]
        assert states(*jobs) == expected
        notes = [s.note for s in survey([job for job, _ in jobs])]
    assert notes[3].endswith("seed3/traceback.txt")
    assert notes[4].startswith("process ")


def test_a_result_of_other_settings_is_not_taken_for_the_jobs(make_job):
    job, run = make_job("seed=1")
    finish(run, config_hash="of another configuration")
    (state,) = survey([job])
    assert (state.state, state.note) == ("failed", "its home holds a run with other settings")


def test_a_damaged_record_is_something_to_be_run(make_job):
    job, run = make_job("seed=1")
    finish(run)
    (run.directory / "record.json").write_text("{")
    (state,) = survey([job])
    assert (state.state, state.note) == ("interrupted", "its record is damaged")


def test_what_is_left_is_counted_by_the_epochs_of_the_most_similar_runs(make_job):
    run_of_another_activation = make_job("activation=relu", "seed=0")[1]
    job, run = make_job("activation=pau", "seed=0")
    assert survey([job])[0].seconds_left is None
    finish(run_of_another_activation, seconds=5.0)
    assert survey([job])[0].seconds_left == 30 * 5.0
    finish(make_job("activation=pau", "seed=1", "trainer.max_epochs=2")[1], seconds=4.0, epochs=2)
    assert survey([job])[0].seconds_left == 30 * 4.0
    finish(make_job("activation=pau", "seed=2")[1], seconds=3.0)
    assert survey([job])[0].seconds_left == 30 * 3.0
    interrupt(run, epochs=10)  # of two seconds each
    assert survey([job])[0].seconds_left == 20 * 2.0


def test_the_listing_says_what_each_job_does_and_what_is_left(make_job):
    jobs = [make_job(f"seed={seed}") for seed in range(3)]
    finish(jobs[0][1], seconds=60.0)
    interrupt(jobs[1][1], epochs=28)
    found = survey([job for job, _ in jobs])
    lines = [line.split() for line in listing(found).splitlines()]
    assert lines[1:] == [
        ["finished", "digits_lenet/pau/seed0", "30/30", "–"],
        ["interrupted", "digits_lenet/pau/seed1", "28/30", "4", "s"],
        ["missing", "digits_lenet/pau/seed2", "0/30", "30", "min"],
    ]
    left = "30 min left one after another, by measured epochs"
    assert summary(found) == f"3 jobs: 1 finished, 1 interrupted, 1 missing; {left}"


@pytest.mark.parametrize(
    ("jobs", "lacking", "said"),
    [
        (1, 1, "1 of 1 run has no result; the same command starts it again."),
        (3, 2, "2 of 3 runs have no result; the same command starts them again."),
    ],
)
def test_a_sweep_ends_with_how_many_runs_have_no_result(jobs, lacking, said, make_job):
    made = [make_job(f"seed={seed}") for seed in range(jobs)]
    for _, run in made[lacking:]:
        finish(run)
    with pytest.raises(SweepError) as error:
        conclude(survey([job for job, _ in made]))
    assert str(error.value) == said


@pytest.fixture
def make_chain(make_runs):
    """Return a job of three runs, one after another with ever fewer filters, and these runs."""

    def make():
        overrides = ("experiment=prune_digits_lenet", "prune.shares=[10,20]")
        runs = make_runs(*overrides)
        return Job.of(runs, overrides), runs

    return make


def test_a_pruning_experiment_is_one_job_until_its_last_run_is_finished(make_chain):
    job, runs = make_chain()
    expected = ["missing", "interrupted", "interrupted", "finished"]
    for done, state in enumerate(expected):
        (found,) = survey([job])
        assert (found.state, found.epochs) == (state, 30 * done)
        assert found.seconds_left == (None if done == 0 else (3 - done) * 30 * 2.0)
        if done < 3:
            assert job.home(Path()) == runs[done].directory
            finish(runs[done])
    assert "finished  " in listing([found])
    assert "90/90" in listing([found])


def test_a_pruning_experiment_ends_with_a_run_that_diverges(make_chain):
    job, runs = make_chain()
    finish(runs[0])
    finish(runs[1], "diverged", epochs=3)
    assert survey([job])[0].state == "diverged"
    assert survey([job])[0].seconds_left == 0


def test_a_pruning_experiment_is_named_by_its_first_run_and_has_a_log_of_its_own(make_runs):
    found = [
        Job.of(make_runs("experiment=prune_digits_lenet", f"prune.shares={shares}"), [])
        for shares in ("[10,30]", "[10,40]")
    ]
    assert [job.name for job in found] == ["prune_digits_lenet/pau/seed0"] * 2
    assert len({job.log_name for job in found}) == 2
    assert all("/" not in job.log_name for job in found)
