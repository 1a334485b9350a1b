"""The published runs, and the page that is made of them."""

import re
import runpy
from pathlib import Path

from pade_bench.compare import published
from pade_bench.runs.certificate import Certificate
from pade_bench.runs.records import read_runs

ROOT = Path(__file__).parents[1]


def test_every_published_run_can_be_read_and_nothing_of_a_machine_is_in_it():
    runs, problems = read_runs(published())
    assert problems == []
    assert {run.status for run in runs} == {"finished"}
    for path in published().rglob("config.yaml"):
        text = path.read_text()
        assert re.findall(r"(?m)^(?:  root|runs_dir): /", text) == []


def test_the_page_says_what_the_records_say():
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    script = runpy.run_path(str(ROOT / "scripts" / "publish_results.py"))
    groups = script["published_groups"]()
    assert page.count("<!-- leaderboard_") == page.count("<!-- end -->") == 5
    assert script["with_tables"](page, groups) == page
    # The runs at the paper's full protocol come first.
    assert page.index("<!-- leaderboard_mnist_lenet -->") == page.index("<!-- leaderboard_")
    for picture in re.findall(r"\]\((\S+\.png)\)", page):
        assert (ROOT / "docs" / picture).is_file()


def test_the_page_on_pruning_says_what_the_records_say():
    page = (ROOT / "docs" / "pruning.md").read_text(encoding="utf-8")
    script = runpy.run_path(str(ROOT / "scripts" / "publish_results.py"))
    assert page.count("<!-- pruning_") == page.count("<!-- end -->") == 1
    assert script["with_tables"](page, script["published_groups"]()) == page
    assert (ROOT / "docs" / "pruning_digits_lenet.png").is_file()
    measured = (ROOT / "benchmarks" / "pruning.md").read_text(encoding="utf-8")
    assert measured.strip() in page


def test_the_page_on_certification_says_what_the_certificates_say():
    page = (ROOT / "docs" / "certification.md").read_text(encoding="utf-8")
    script = runpy.run_path(str(ROOT / "scripts" / "publish_results.py"))
    assert page.count("<!-- certified -->") == page.count("<!-- end -->") == 1
    assert script["with_certificates"](page, script["published_groups"]()) == page
    assert "images: 1,000; seeds: 3; method: crown" in page
    assert (ROOT / "docs" / "certification_mnist.png").is_file()


def test_a_published_certificate_says_less_than_the_attack_leaves_open():
    found = [Certificate.read(path) for path in published().rglob("certificate.json")]
    assert len(found) == 12
    for result in (result for certificate in found for result in certificate.results):
        assert result.certified_accuracy <= result.attacked_accuracy <= result.clean_accuracy


def test_a_run_is_published_without_the_paths_of_its_machine(runs, tmp_path, monkeypatch):
    runs.finish("mnist_lenet", "pau", 0, learned=True)
    runs.finish("mnist_lenet", "pau", 1, learned=True)
    (runs.directory("mnist_lenet", "pau", 1) / "certificate.json").write_text("{}")
    runs.progress("mnist_lenet", "pau", 2, epochs=1)
    config = runs.directory("mnist_lenet", "pau", 0) / "config.yaml"
    config.write_text(config.read_text().replace("root: data", "root: /home/me/data/mnist"))
    script = runpy.run_path(str(ROOT / "scripts" / "publish_results.py"))
    monkeypatch.setitem(script["add"].__globals__, "RUNS", tmp_path / "published")
    script["add"](runs.root)
    found = {str(p.relative_to(tmp_path / "published")) for p in tmp_path.rglob("published/**/*.*")}
    assert found == {
        f"mnist_lenet/pau/seed{name}"
        for name in ("0/record.json", "0/config.yaml", "0/activations.npz", "1/record.json",
                     "1/config.yaml", "1/certificate.json")
    }  # fmt: skip
    assert (
        "root: data/mnist\n"
        in (tmp_path / "published/mnist_lenet/pau/seed0/config.yaml").read_text()
    )
    results, problems = read_runs(tmp_path / "published")
    assert (len(results), problems) == (2, [])
