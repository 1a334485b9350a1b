"""Certificates in the report."""

import json

from pade_bench.report.__main__ import main
from pade_bench.runs.certificate import to_json


def certificate(home, certified, **changes):
    record = json.loads((home / "record.json").read_text())
    results = [
        {
            "epsilon": epsilon, "clean_accuracy": 99.0, "attacked_accuracy": 98.0,
            "certified_accuracy": accuracy, "bounded_images": 99, "mean_width": 2.5,
            "median_width": 2.0, "bound_seconds": 1.0, "attack_seconds": 1.0,
        }
        for epsilon, accuracy in zip((0.01, 0.02), certified, strict=True)
    ]  # fmt: skip
    values = {
        "config_hash": record["config_hash"], "seed": record["seed"], "method": "crown",
        "images": 100, "results": results, **changes,
    }  # fmt: skip
    (home / "certificate.json").write_text(to_json(values))


def report(runs, tmp_path):
    main(["--runs", str(runs.root), "--out", str(tmp_path / "report")])
    path = tmp_path / "report" / "tables" / "certified.md"
    return path.read_text() if path.exists() else None


def test_certified_accuracies_are_means_over_seeds(runs, tmp_path):
    for seed, certified in enumerate([(90.0, 10.0), (80.0, 0.0)]):
        home = runs.finish("mnist_lenet", "pau", seed)
        certificate(home or runs.directory("mnist_lenet", "pau", seed), certified)
    table = report(runs, tmp_path)
    assert "| 0.01 | 99.0 ± 0.0 | 98.0 ± 0.0 | 85.0 ± 7.1 | 2.5 | 100 | 2 | crown |" in table
    assert "| 0.02 | 99.0 ± 0.0 | 98.0 ± 0.0 | 5.0 ± 7.1 | 2.5 | 100 | 2 | crown |" in table
    assert (tmp_path / "report" / "figures" / "certified.png").exists()


def test_without_certificates_there_is_no_such_part(runs, tmp_path):
    runs.finish("mnist_lenet", "pau", 0)
    assert report(runs, tmp_path) is None


def test_a_certificate_of_another_run_or_damaged_is_left_out_and_named(runs, tmp_path, capsys):
    for seed in (0, 1):
        runs.finish("mnist_lenet", "pau", seed)
    first, second = (runs.directory("mnist_lenet", "pau", seed) for seed in (0, 1))
    certificate(first, (90.0, 10.0), seed=7)
    (second / "certificate.json").write_text("{}")
    assert report(runs, tmp_path) is None
    said = "".join(capsys.readouterr())
    assert "is of another run" in said
    assert "does not have its checksum" in said
