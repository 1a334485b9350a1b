"""Names in records may be anybody's: they are shown as they are, and do nothing."""

import csv
import json
import os
import re

import pytest
from synthetic_runs import Runs, write_record

from pade_bench.report.__main__ import main
from pade_bench.report.tables import Cell, Table
from pade_bench.report.tables.formats import to_csv, to_html, to_markdown

NAMES = [
    "$\\frac{1$", "=1+1", "+1", "-1", "@SUM(A1)", "..", "<script>alert(1)</script>", "a|b",
    "**bold**", "_hidden", "`code`", "[link](http://example.com)", "\\", "&amp;", "{0}", "%s",
    "数据 é", "'\"", "a/../../b", 200 * "x",
]  # fmt: skip


def rename(home, **names):
    write_record(home, json.loads((home / "record.json").read_text()) | names)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Return the folder of a report on runs with these names, and its exit status."""
    folder = tmp_path_factory.mktemp("names")
    runs = Runs(folder / "runs")
    for i, name in enumerate(NAMES):
        # Where a run lies does not say what its record calls it.
        for seed in range(2):
            home = runs.finish("mnist_lenet", f"mine{i}", seed, 90 + i / 3)
            rename(home, activation=name)
    for i, name in enumerate(NAMES[:4]):
        for seed in range(2):
            home = runs.finish(f"other{i}_lenet", "pau", seed, learned=True)
            rename(home, experiment=name)
    status = main(["--runs", str(runs.root), "--out", str(folder / "report")])
    return folder, status


def test_everything_is_drawn_and_nothing_is_written_elsewhere(report, capsys):
    folder, status = report
    assert status == 0, capsys.readouterr().err
    assert sorted(os.listdir(folder)) == ["report", "runs"]
    assert "cannot be drawn" not in (folder / "report" / "index.html").read_text()
    for path in folder.glob("report/*/*"):
        assert re.fullmatch(r"[a-z][A-Za-z0-9_.-]*", path.name), path


def test_the_page_shows_names_and_runs_none(report):
    page = (report[0] / "report" / "index.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_no_cell_of_a_csv_file_is_a_formula(report):
    seen = set()
    for path in report[0].glob("report/tables/*.csv"):
        for row in csv.reader(path.open(encoding="utf-8")):
            for cell in row:
                seen.add(cell)
                assert cell[:1] not in tuple("=+@"), path
                assert cell[:1] != "-" or re.fullmatch(r"-[0-9.e+-]+", cell), path
    assert {"'=1+1", "'@SUM(A1)"} <= seen


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_shown_as_it_is_in_every_form_of_a_table(name):
    table = Table("k", "title", [("", "a"), ("", "b")], [[Cell(name), Cell("1")]], [name])
    table.data = [{"activation": name, "difference": -1.5}]
    lines = to_markdown(table).splitlines()
    assert len(re.findall(r"(?<!\\)\|", lines[4])) == 3
    unescaped = re.sub(r"\\([^A-Za-z0-9 ])", r"\1", lines[4])
    assert unescaped == f"| {name} | 1 |"
    assert "<script" not in to_html(table)
    _, (shown, number) = csv.reader(to_csv(table).splitlines())
    assert shown.removeprefix("'" if name != "'\"" else "") == name
    assert number == "-1.5"
