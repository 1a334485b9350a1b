"""Putting the report together and writing its files."""

from __future__ import annotations

import functools
import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from pade_bench.report import accuracy, figures, paper, results
from pade_bench.report.drawing import Plan, write
from pade_bench.report.groups import Changes, Group, describe, group_runs
from pade_bench.report.page import Picture, Section, render
from pade_bench.report.paper import AccuracyTable
from pade_bench.report.statistics.ranks import rank_all
from pade_bench.report.tables import Table
from pade_bench.runs.files import writing_to
from pade_bench.runs.names import file_name
from pade_bench.runs.records import Result, read_runs

# A group in curves, learned functions and ranks takes 30 ms of drawing, and as many kB of the page.
GROUPS_DRAWN = 200
_HASH = re.compile(r"\b([0-9a-f]{10})[0-9a-f]{30}\b")  # of a commit, of which ten digits do
_LEARNED = (
    "Of the first finished seed; behind is the density of each layer's inputs. Where the noise is "
    "small, as RPAU's 1 % is, its band is no wider than the line."
)
_SPREAD = "Lines are means over the finished seeds, bands ± one sample standard deviation."


def build(runs_dir: Path, out_dir: Path) -> list[str]:
    """Write the report on all runs below ``runs_dir``; return what had to be left out.

    Writes ``tables/*.md|csv|tex``, ``figures/*.png|pdf`` and ``index.html``, each aside and then
    renamed.

    Raises:
        RunError: there is no such directory, or ``out_dir`` cannot be written.
    """
    runs, problems = read_runs(runs_dir)
    groups = group_runs(runs)
    plan = Plan(problems)
    scopes = _scopes(groups)
    drawn = _drawn(scopes)
    sections = [_tables(groups), _figures(groups, plan)]
    for scope, found in sorted(scopes.items()):
        section = _scope(*scope, found, plan, scope in drawn)
        if section.items or section.notes:
            sections.append(section)
    if len(drawn) < len(scopes):
        sections[0].notes.append(
            f"Of {len(scopes):,} settings the {len(drawn)} with most finished runs are compared "
            "and drawn below; the tables have all of them. For the curves of others, copy their "
            "runs into a folder of their own."
        )
    with writing_to(out_dir):
        plan.draw(out_dir / "figures")
        for section in sections:
            for item in section.items:
                if isinstance(item, Table):
                    path = out_dir / "tables" / item.key
                    write(path.with_name(f"{item.key}.md"), item.to_markdown().encode())
                    write(path.with_name(f"{item.key}.csv"), item.to_csv().encode())
                    write(path.with_name(f"{item.key}.tex"), item.to_latex().encode())
        page = render(_numbers(runs, problems), _origin(runs), problems, sections)
        write(out_dir / "index.html", page.encode())
    return problems


def _tables(groups: Sequence[Group]) -> Section:
    section = Section("Tables of the paper")
    section.items += [accuracy.accuracy_table(layout, groups) for layout in paper.TABLES]
    section.items += [results.table5(groups), results.parameter_table(groups), results.table6()]
    return section


def _figures(groups: Sequence[Group], plan: Plan) -> Section:
    standard = [g for g in groups if not g.protocol and g.pruned_share is None]
    # Those that take longest begin first, so that no core waits for the last one.
    rows = plan.curves([g for g in standard if g.experiment in paper.FIGURE3])
    found = {
        "figure3": plan.add(
            Picture(
                "figure3",
                "Figure 3: learned activation functions",
                notes=[_LEARNED],
                command=paper.command(",".join(paper.FIGURE3), paper.PADE, 1),
            ),
            functools.partial(figures.learned_activations, rows) if rows else _nothing,
        )
    }
    for layout in reversed(paper.CURVES):
        first = layout.experiments[0]
        table = next(t for t in paper.TABLES if first in t.experiments)
        mine = [g for g in standard if g.experiment in layout.experiments]
        command = paper.command(
            ",".join(layout.experiments), table.activations, paper.expected_seeds(first) or 1
        )
        notes = [layout.note] if layout.note else []
        if lacking := _lacking(table, layout.experiments, mine):
            notes.append(f"Not drawn, as no run has finished: {lacking}.")
        found[layout.key] = plan.add(
            Picture(layout.key, layout.title, notes=[*notes, _SPREAD], command=command),
            functools.partial(figures.learning_curves, layout.experiments, mine),
        )
    found |= {
        "figure1": plan.add(
            Picture(
                "figure1",
                "Figure 1: Padé units that approximate common activations",
                notes=["Initial coefficients for 1 + |b1 x + … + bn x^n|, fitted where shaded."],
            ),
            figures.approximations,
        ),
        "figure4": plan.add(
            Picture(
                "figure4",
                "Figure 4: pruned networks",
                notes=["Means over the finished seeds ± one sample standard deviation."],
                command=paper.command(",".join(paper.PRUNING), ("pau", "relu"), 1),
            ),
            functools.partial(figures.pruning, [g for g in groups if g.pruned_share is not None]),
        ),
    }
    items: list[Table | Picture] = [found[key] for key in sorted(found)]
    if numbers := accuracy.pruning_table(groups):
        items.insert(items.index(found["figure4"]) + 1, numbers)
    return Section("Figures of the paper", items)


def _nothing() -> None:
    return None


def _lacking(table: AccuracyTable, experiments: Sequence[str], groups: Sequence[Group]) -> str:
    """Say what the paper shows of some experiments and has no finished run here."""
    finished = {(g.experiment, g.activation) for g in groups if g.finished}
    parts = []
    for experiment in experiments:
        wanted = [a for a in table.activations if (experiment, a) not in table.left_out]
        lacking = [a for a in wanted if (experiment, a) not in finished]
        names = ", ".join(map(paper.activation_label, lacking))
        if lacking:
            names = "all" if lacking == wanted else names
            parts.append(f"{paper.experiment_label(experiment)} ({names})")
    return "; ".join(parts)


Scope = tuple[str, Changes]


def _scopes(groups: Sequence[Group]) -> dict[Scope, list[Group]]:
    """Return the groups that can be compared with each other.

    The experiments of the paper belong together, ``""``; any other stands alone.
    """
    scopes: dict[Scope, list[Group]] = {}
    for g in groups:
        if g.pruned_share is None:
            name = "" if g.experiment in paper.EXPERIMENTS else g.experiment
            scopes.setdefault((name, g.protocol), []).append(g)
    return scopes


def _drawn(scopes: Mapping[Scope, Sequence[Group]]) -> set[Scope]:
    """Return the scopes of which pictures are drawn: the standard ones, then the most complete."""

    def order(scope: Scope) -> tuple[bool, int, Scope]:
        return bool(scope[1]), -sum(len(g.finished) for g in scopes[scope]), scope

    drawn: set[Scope] = set()
    n_groups = 0
    for scope in sorted(scopes, key=order):
        n_groups += len(scopes[scope])
        if not drawn or n_groups <= GROUPS_DRAWN:
            drawn.add(scope)
    return drawn


def _scope(
    experiment: str, protocol: Changes, groups: Sequence[Group], plan: Plan, drawn: bool
) -> Section:
    """Return what the paper does not have: its experiments compared, and other experiments."""
    experiments = tuple(sorted({g.experiment for g in groups}))
    name = experiment or "experiments of the paper"
    settings = describe(protocol)
    title = f"{name}, {settings}" if protocol else name
    section = Section(title[:1].upper() + title[1:] if not experiment else title)
    suffix = experiment or "paper"
    if protocol:
        suffix += f"-{hashlib.sha256(repr(protocol).encode()).hexdigest()[:8]}"
    suffix = file_name(suffix)
    if experiment:
        layout = AccuracyTable(f"accuracy_{suffix}", f"Accuracy: {title}", experiments, (), 0)
        section.items.append(accuracy.accuracy_table(layout, groups))
    if not drawn:
        return section
    if (experiment or protocol) and any(g.finished for g in groups):
        section.items.append(
            plan.add(
                Picture(f"curves_{suffix}", f"Learning curves: {title}", notes=[_SPREAD]),
                functools.partial(figures.learning_curves, experiments, groups),
            )
        )
        if rows := plan.curves(groups):
            section.items.append(
                plan.add(
                    Picture(
                        f"learned_{suffix}",
                        f"Learned activation functions: {title}",
                        notes=[_LEARNED],
                    ),
                    functools.partial(figures.learned_activations, rows),
                )
            )
    found = results.scores(groups)
    comparison = results.comparison_table(f"paired_{suffix}", f"Paired comparison: {title}", found)
    if comparison:
        section.items.append(comparison)
    if ranking := rank_all(found):
        named = {g.label: (g.activation, g.variation) for g in groups}
        section.items.append(
            plan.add(
                Picture(
                    f"ranks_{suffix}",
                    f"Mean ranks of all activations: {title}",
                    notes=results.ranking_notes(ranking),
                ),
                functools.partial(figures.critical_difference, ranking, named),
            )
        )
    else:
        section.notes.append(
            "No diagram of mean ranks: it needs three activations with two complete runs each."
        )
    return section


def _numbers(runs: Sequence[Result], problems: Sequence[str]) -> list[tuple[int, str]]:
    counts = Counter(run.status for run in runs)
    found = [(len(runs), "runs")]
    found += [(counts[s], s) for s in ("finished", "diverged", "unfinished") if counts[s]]
    return found + ([(len(problems), "left out")] if problems else [])


def _origin(runs: Sequence[Result]) -> list[str]:
    """Say which code, devices and kernels made the runs."""
    sentences = []
    for key, words in (
        ("commit", "Commits"),
        ("device", "Devices"),
        ("pade_kernel", "Kernels of the Padé unit"),
    ):
        values = (str(r.provenance[key]) for r in runs if r.provenance.get(key))
        counts = Counter(_HASH.sub(r"\1", value)[:60] for value in values)
        if counts:
            listed = [f"{value} ({n:,} runs)" for value, n in counts.most_common(4)]
            more = len(counts) - len(listed)
            sentences.append(f"{words}: {', '.join(listed)}{f' and {more} more' if more else ''}.")
    return sentences
