"""What a sweep ends with: the ranking of the activations that it ran."""

from pade_bench.sweeps.jobs import Job
from pade_bench.sweeps.outcome import print_ranking


def job(runs, experiment, activation, seed):
    home = runs.directory(experiment, activation, seed)
    return Job((), runs.root, (home,), experiment, activation, ("",), 10)


def test_the_activations_of_the_jobs_are_ranked_and_no_others(runs, capsys):
    jobs = []
    for seed in range(3):
        for activation, accuracy in (("relu", 98.0), ("pau", 99.0), ("elu", 99.9)):
            runs.finish("mnist_lenet", activation, seed, accuracy + seed / 100 * len(activation))
            if activation != "elu":
                jobs.append(job(runs, "mnist_lenet", activation, seed))
    print_ranking(jobs)
    out = capsys.readouterr().out
    assert "MNIST, LeNet" in out
    assert "PAU is ahead of ReLU by 0.99 points over 3 seeds" in out
    assert " ELU" not in out


def test_without_a_result_there_is_nothing_to_rank(runs, tmp_path, capsys):
    print_ranking([job(runs, "mnist_lenet", "relu", 0)])
    runs.progress("mnist_lenet", "relu", 0, epochs=1)
    print_ranking([job(runs, "mnist_lenet", "relu", 0)])
    runs.root = tmp_path / "elsewhere"
    print_ranking([job(runs, "mnist_lenet", "relu", 0)])
    assert capsys.readouterr().out == ""
