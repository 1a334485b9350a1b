"""The whole report, from run directories to files."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from synthetic_runs import Runs, fill

from pade_bench.report import sections
from pade_bench.report.__main__ import main


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Return the runs, the report's directory, the exit code and what was printed."""
    folder = tmp_path_factory.mktemp("report")
    runs = Runs(folder / "runs")
    fill(runs)
    command = [sys.executable, "-m", "pade_bench.report", "--runs", "runs", "--out", "out"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return runs, folder / "out", result


def test_a_broken_record_is_named_and_the_exit_code_says_so(report):
    _, out, result = report
    assert result.returncode == 1
    assert "left out: runs/digits_lenet/relu/seed9: record.json is no JSON" in result.stderr
    assert "Traceback" not in result.stderr
    assert "digits_lenet/relu/seed9" in (out / "index.html").read_text()


def test_every_table_has_three_forms(report):
    _, out, _ = report
    shown = {"table2", "table5", "table6", "parameters", "pruning", "across"}
    shown |= {"leaderboard_mnist_lenet", "paired_digits_lenet"}
    for name in shown:
        for suffix in ("md", "csv", "tex"):
            assert (out / "tables" / f"{name}.{suffix}").stat().st_size > 100
    assert not list(out.glob("tables/table[34].*"))


def test_the_leaderboard_comes_first_and_then_ones_own_experiments(report):
    page = (report[1] / "index.html").read_text()
    titles = re.findall(r"<h2 id=\w+>([^<]+)</h2>", page)
    assert titles == [
        "Leaderboard",
        "Digits, LeNet",
        "Experiments of the paper, trainer.max_epochs=5",
        "Experiments of the paper",
        "Tables and figures of the paper",
    ]
    first = page[: page.index("Digits, LeNet</h2>")]
    assert "PAU is ahead of all others, of RPAU by" in first
    assert "a run with PAU is better than one with ReLU with probability 1.00" in first
    pictures = re.findall(r'aria-label="([^"]+)"', first)
    assert pictures[0] == "Test accuracies, sorted: Fashion-MNIST, LeNet"
    assert pictures[1] == "Test accuracy against training time: Fashion-MNIST, LeNet"


def test_figures_with_runs_are_drawn_and_the_others_listed_with_their_command(report):
    _, out, _ = report
    drawn = {p.stem for p in (out / "figures").glob("*.png")}
    assert drawn >= {"figure1", "figure2", "figure3", "figure4", "figure6", "figure7"}
    assert drawn >= {"leaderboard_mnist_lenet", "time_mnist_lenet"}
    assert drawn == {p.stem for p in (out / "figures").glob("*.pdf")}
    assert not drawn & {"figure5", "figure8"}
    page = (out / "index.html").read_text()
    assert "Not run yet: Table 3, Figure 8; Table 4, Figure 5" in page
    lines = re.findall(r"<li>(Table [34][^<]+)<code>([^<]+)</code>", page)
    assert [command for _, command in lines] == [
        "python -m pade_bench -m sweep=table3", "python -m pade_bench -m sweep=table4",
    ]  # fmt: skip
    assert "275 runs, about" in lines[0][0]
    assert "h on one H200" in lines[0][0]
    for path in (out / "figures").iterdir():
        assert path.read_bytes()[:4] == {".png": b"\x89PNG", ".pdf": b"%PDF"}[path.suffix]


def test_the_page_stands_alone(report):
    page = (report[1] / "index.html").read_text()
    links = re.findall(r"""(?:src|href)=["']?([^"'\s>]+)""", page)
    assert links
    assert all(link.startswith("#") for link in links)
    assert "<script" not in page
    assert "@import" not in page
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_readable_at_any_width_in_light_and_dark(report, browser, width, scheme):
    browser.open((report[1] / "index.html").as_uri(), width=width, scheme=scheme)
    # Wide tables and pictures scroll by themselves; the page does not.
    assert browser.run("return document.documentElement.scrollWidth") <= width
    ink, paper = browser.run(
        """const style = getComputedStyle(document.body);
        return [style.color, style.backgroundColor].map(
            (color) => color.match(/\\d+/g).reduce((sum, value) => sum + Number(value), 0));"""
    )
    assert (ink > paper) == (scheme == "dark")
    assert abs(ink - paper) > 500
    sizes = browser.run(
        """return [...document.querySelectorAll('svg')].map((svg) => {
            const {width, height} = svg.getBoundingClientRect(); return [width, height]; });"""
    )
    assert len(sizes) == len(list((report[1] / "figures").glob("*.png")))
    assert all(height > 70 and width > 300 for width, height in sizes)
    texts = browser.texts()
    assert "Table 2: MNIST and Fashion-MNIST" in texts
    assert "2 of 5, 3 diverged" in texts
    # Text in pictures is drawn; on a phone a picture is not shrunk until nobody can read it.
    natural = browser.run(
        "return [...document.querySelectorAll('svg')].map(svg => parseFloat(svg.style.width));"
    )
    assert all(width >= 0.65 * n * 4 / 3 for (width, _), n in zip(sizes, natural, strict=True))


def test_no_name_within_the_page_is_given_twice(report):
    page = (report[1] / "index.html").read_text()
    sections = re.findall(r"<h[23] id=(\w[\w-]*)|<details id=(\w[\w-]*)", page)
    names = [a or b for a, b in sections]
    assert len(names) == len(set(names))
    clips = re.findall(r'<clipPath id="([^"]+)"', page)
    assert len(clips) == len(set(clips))


def test_the_pictures_have_the_pages_ink(report):
    page = (report[1] / "index.html").read_text()
    assert "#010101" not in page
    assert "currentColor" in page


def test_experiments_that_the_paper_does_not_have_have_their_own_section(report):
    _, out, _ = report
    assert {p.stem for p in (out / "figures").glob("*digits*.png")} == {
        "leaderboard_digits_lenet", "time_digits_lenet", "curves_digits_lenet",
        "learned_digits_lenet", "ranks_digits_lenet",
    }  # fmt: skip
    assert (out / "tables" / "paired_digits_lenet.csv").exists()
    assert "mine" in (out / "tables" / "leaderboard_digits_lenet.md").read_text()


def test_the_same_runs_give_the_same_page(report, tmp_path):
    runs, out, _ = report
    main(["--runs", str(runs.root), "--out", str(tmp_path)])
    for path in out.rglob("*.csv"):
        assert path.read_bytes() == (tmp_path / path.relative_to(out)).read_bytes()
    again = (tmp_path / "index.html").read_text()
    assert again.replace(str(runs.root), "runs") == (out / "index.html").read_text()
    assert not list(tmp_path.rglob("*.partial"))


def test_a_figure_says_what_is_not_in_it(report):
    page = (report[1] / "index.html").read_text()
    assert "Not drawn, as no run has finished: MNIST, VGG-8 (ReLU6, LReLU," in page
    assert "Fashion-MNIST, VGG-8 (all); Fashion-MNIST, LeNet (ReLU6, LReLU, RReLU, CELU," in page


def test_of_many_settings_the_most_complete_are_drawn_and_all_are_in_the_tables(
    runs, tmp_path, monkeypatch
):
    for rate in range(4):
        changes = {"optim.weights.lr": 1 + rate} if rate else None
        runs.sweep("digits_lenet", ["relu", "pau"], seeds=2 + rate, changes=changes)
    monkeypatch.setattr(sections, "GROUPS_DRAWN", 4)
    assert main(["--runs", str(runs.root), "--out", str(tmp_path)]) == 0
    page = (tmp_path / "index.html").read_text()
    assert "Of 4 settings the 2 with most finished runs are drawn" in page
    # The standard settings, whatever else there is, and those with the most seeds.
    assert len(list(tmp_path.glob("figures/curves_*.png"))) == 2
    assert "Learning curves: Digits, LeNet, optim.weights.lr=4<" in page
    assert len(list(tmp_path.glob("tables/leaderboard_*.csv"))) == 4


def test_the_report_is_about_what_is_asked_for(runs, tmp_path):
    runs.sweep("digits_lenet", ["relu", "pau"], seeds=2)
    runs.sweep("mnist_lenet", ["relu", "pau"], seeds=2, changes={"trainer.max_epochs": 5})
    where = ["--runs", str(runs.root), "--out", str(tmp_path)]
    assert main([*where, "--experiment", "digits*", "--activation", "pau"]) == 0
    page = (tmp_path / "index.html").read_text()
    assert "Only PAU has results" in page
    assert "MNIST, LeNet, trainer" not in page
    assert main([*where, "--set", "trainer.max_epochs=5"]) == 0
    page = (tmp_path / "index.html").read_text()
    assert "MNIST, LeNet, trainer.max_epochs=5</h3>" in page
    assert "Digits, LeNet" not in page


def test_an_outdated_figure_is_removed(runs, tmp_path, capsys):
    stale = tmp_path / "out" / "figures" / "figure8.png"
    users = stale.with_name("mine.png")
    stale.parent.mkdir(parents=True)
    for path in (stale, users):
        path.write_bytes(b"old")
    assert main(["--runs", str(runs.root), "--out", str(tmp_path / "out")]) == 0
    assert not stale.exists()
    assert users.exists()
    assert (tmp_path / "out" / "index.html").exists()
    assert "index.html" in capsys.readouterr().out


def test_a_damaged_array_file_is_named_and_the_report_made(runs, tmp_path, capsys):
    home = runs.finish("digits_lenet", "pau", 0, learned=True)
    (home / "activations.npz").write_bytes(b"PK\x03\x04 broken")
    assert main(["--runs", str(runs.root), "--out", str(tmp_path / "out")]) == 1
    assert "activations.npz: cannot be read" in capsys.readouterr().err


def test_without_a_runs_directory_there_is_no_report(tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["--runs", str(tmp_path / "nowhere"), "--out", str(out)]) == 2
    assert "is not a directory" in capsys.readouterr().err
    assert not out.exists()


def test_an_output_directory_that_is_a_file_is_refused(runs, tmp_path, capsys):
    (tmp_path / "out").write_text("")
    assert main(["--runs", str(runs.root), "--out", str(tmp_path / "out")]) == 2
    assert "Cannot write to" in capsys.readouterr().err


def test_the_report_needs_no_torch(tmp_path):
    (tmp_path / "runs").mkdir()
    for name in ("torch", "pytorch_lightning", "torchvision", "tensorboard"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('not on this laptop')")
    source = str(Path(__file__).parents[2])
    for module in ("report", "status", "compare"):
        result = subprocess.run(
            [sys.executable, "-m", f"pade_bench.{module}"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{source}"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr
