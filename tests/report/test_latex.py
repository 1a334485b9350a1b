"""LaTeX takes the tables, and they stay on the page."""

import shutil
import subprocess

import pytest
from synthetic_runs import fill

from pade_bench.report import accuracy, paper, results
from pade_bench.report.groups import group_runs
from pade_bench.report.tables import Cell, Table
from pade_bench.runs.records import read_runs

PREAMBLE = r"\documentclass{article}\usepackage{booktabs,longtable,lscape}\begin{document}"


@pytest.fixture
def compile_latex(tmp_path):
    """Return a function that typesets tables and returns LaTeX's log."""
    if not shutil.which("pdflatex"):
        pytest.skip("pdflatex is not installed (apt-get: texlive-latex-recommended)")

    def compile_latex(tables):
        pages = [rf"{table.to_latex()}\clearpage" for table in tables]
        (tmp_path / "all.tex").write_text("\n".join([PREAMBLE, *pages, r"\end{document}"]))
        # Twice, as the first pass only measures long tables.
        for _ in range(2):
            command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
            result = subprocess.run(
                command, cwd=tmp_path, capture_output=True, text=True, check=False
            )
            assert result.returncode == 0, result.stdout[-2000:]
        return (tmp_path / "all.log").read_text(errors="replace")

    return compile_latex


def test_all_tables_of_the_report_fit_their_pages(runs, compile_latex):
    fill(runs)
    groups = group_runs(read_runs(runs.root)[0])
    tables = [accuracy.accuracy_table(layout, groups) for layout in paper.TABLES]
    tables += [results.table5(groups), results.table6(), results.parameter_table(groups)]
    tables += [results.comparison_table("paired", "Pairs", results.scores(groups))]
    tables += [accuracy.pruning_table(groups)]
    log = compile_latex(tables)
    assert "Overfull" not in log
    assert "undefined" not in log


def test_a_long_table_continues_on_the_next_page(compile_latex):
    table = Table("long", "Long", [("", "a"), ("g", "b")])
    table.rows = [[Cell(str(i)), Cell("1.00 ± 0.10")] for i in range(120)]
    log = compile_latex([table])
    assert "Overfull" not in log
    assert "(3 pages" in log


def test_what_means_something_to_latex_is_printed(compile_latex):
    table = Table("key", r"50 % & _x_ \ {y} ~ ^ # $ < > | ± ≥ ≤ × – − … Δ α é", [("", "a_b")])
    table.rows = [[Cell("x^2 | 1_000")]]
    compile_latex([table])
