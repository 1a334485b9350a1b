"""Putting the report together and writing its files."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pade_bench.report import certified, sections
from pade_bench.report.figures.drawing import Plan, write
from pade_bench.report.groups import Group
from pade_bench.report.leaderboard import boards
from pade_bench.report.names import count
from pade_bench.report.page import Section, render
from pade_bench.report.tables.formats import to_csv, to_markdown
from pade_bench.report.tables.latex import to_latex
from pade_bench.runs.files import writing_to
from pade_bench.runs.records import Result, unverified

# The files that a report writes, all others in its directory are the user's.
_OURS = re.compile(
    r"(figure\d|table\d|parameters|pruning|across|certified|(leaderboard|time|curves|learned|ranks|paired)_.+)"
    r"\.(png|pdf|md|csv|tex)"
)
_HASH = re.compile(r"\b([0-9a-f]{10})[0-9a-f]{30}\b")  # of a commit, of which ten digits do


def build(groups: Sequence[Group], problems: list[str], out_dir: Path) -> list[str]:
    """Write the report on groups of runs; return what had to be left out.

    Writes ``tables/*.md|csv|tex``, ``figures/*.png|pdf`` and ``index.html``, each aside and then
    renamed.

    Args:
        groups: the runs.
        problems: what was left out already.
        out_dir: where to.

    Raises:
        RunError: ``out_dir`` cannot be written.
    """
    plan = Plan([*problems])
    parts = _sections(groups, plan)
    with writing_to(out_dir):
        written = plan.draw(out_dir / "figures")
        for table in (table for part in parts for table in part.tables()):
            for suffix, to_text in (("md", to_markdown), ("csv", to_csv), ("tex", to_latex)):
                path = out_dir / "tables" / f"{table.key}.{suffix}"
                write(path, to_text(table).encode())
                written.add(path)
        for path in {*out_dir.glob("figures/*"), *out_dir.glob("tables/*")} - written:
            if _OURS.fullmatch(path.name):
                path.unlink()  # of an earlier report
        runs = [run for group in groups for run in group.runs]
        page = render(_numbers(runs, plan.problems), _origin(runs), plan.problems, parts)
        write(out_dir / "index.html", page.encode())
    return plan.problems


def _sections(groups: Sequence[Group], plan: Plan) -> list[Section]:
    found = boards(groups)
    drawn = sections.most_complete(found)
    parts = [sections.leaderboard(found, drawn, plan)] if found else []
    parts += sections.details(drawn, plan)
    if robustness := certified.section(groups, plan):
        parts.append(robustness)
    parts.append(sections.of_the_paper(groups, plan))
    if len(drawn) < len(found):
        parts[0].notes.append(
            f"Of {len(found):,} settings the {len(drawn)} with most finished runs are drawn; the "
            "tables have all of them. For the pictures of others name them: --experiment, --set."
        )
    return parts


def _numbers(runs: Sequence[Result], problems: Sequence[str]) -> list[tuple[int, str]]:
    counts = Counter(run.status for run in runs)
    found = [(len(runs), "runs" if len(runs) != 1 else "run")]
    found += [(counts[s], s) for s in ("finished", "diverged", "unfinished") if counts[s]]
    return found + ([(len(problems), "left out")] if problems else [])


def _origin(runs: Sequence[Result]) -> list[str]:
    """Return which code, devices and kernels made the runs, in sentences."""
    sentences = []
    for key, words in (
        ("commit", "Commits"),
        ("device", "Devices"),
        ("pade_kernel", "Kernels of the Padé unit"),
    ):
        values = [value for r in runs if (value := getattr(r.provenance, key))]
        counts = Counter(_HASH.sub(r"\1", value)[:60] for value in values)
        if counts:
            listed = [f"{value} ({count(n, 'run')})" for value, n in counts.most_common(4)]
            more = len(counts) - len(listed)
            sentences.append(f"{words}: {', '.join(listed)}{f' and {more} more' if more else ''}.")
    return sentences + unverified(runs)
