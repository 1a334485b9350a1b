"""LaTeX takes the tables, and they stay on the page."""

import shutil
import subprocess

import pytest
from synthetic_runs import fill

from pade_bench.report import paper
from pade_bench.report.grouping import group_runs
from pade_bench.report.groups import scores
from pade_bench.report.leaderboard import across, boards
from pade_bench.report.tables import Cell, Table
from pade_bench.report.tables.accuracy import accuracy_table
from pade_bench.report.tables.coefficients import coefficient_table
from pade_bench.report.tables.counts import count_table
from pade_bench.report.tables.latex import to_latex
from pade_bench.report.tables.leaderboard import across_table, board_table
from pade_bench.report.tables.pairs import pair_table
from pade_bench.report.tables.parameters import parameter_table
from pade_bench.report.tables.pruning import pruning_table
from pade_bench.runs.records import read_runs

PREAMBLE = r"\documentclass{article}\usepackage{booktabs,longtable,lscape}\begin{document}"


@pytest.fixture
def compile_latex(tmp_path):
    """Return a function that typesets tables and returns LaTeX's log."""
    if not shutil.which("pdflatex"):
        pytest.skip("pdflatex is not installed (apt-get: texlive-latex-recommended)")

    def compile_latex(tables):
        pages = [rf"{to_latex(table)}\clearpage" for table in tables]
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
    tables = [accuracy_table(sweep, groups) for sweep in paper.tables()]
    tables += [count_table(groups), coefficient_table(), parameter_table(groups)]
    tables += [pair_table("paired", "Pairs", scores(groups)), pruning_table(groups)]
    found = boards(groups)
    tables += [board_table(found[0], "board"), across_table(across(found))]
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
