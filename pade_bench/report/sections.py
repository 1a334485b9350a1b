"""The parts of the report, in the order of interest."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from pade_bench.report import paper
from pade_bench.report.figures.approximations import approximations
from pade_bench.report.figures.curves import learning_curves
from pade_bench.report.figures.drawing import Plan
from pade_bench.report.figures.leaderboard import dots, time_and_accuracy
from pade_bench.report.figures.learned import learned_activations
from pade_bench.report.figures.pruning import pruning
from pade_bench.report.figures.ranks import critical_difference, ranking_notes
from pade_bench.report.groups import Changes, Group, legend, scores
from pade_bench.report.leaderboard import Board, across, verdict_across
from pade_bench.report.missing import missing
from pade_bench.report.names import activation_label, experiment_label
from pade_bench.report.page import Answer, Folded, Picture, Section
from pade_bench.report.paper import CurveFigure
from pade_bench.report.statistics.ranks import rank_all
from pade_bench.report.tables import Table
from pade_bench.report.tables.accuracy import accuracy_table
from pade_bench.report.tables.coefficients import coefficient_table
from pade_bench.report.tables.counts import count_table
from pade_bench.report.tables.leaderboard import across_table, board_notes, board_table
from pade_bench.report.tables.pairs import pair_table
from pade_bench.report.tables.parameters import parameter_table
from pade_bench.report.tables.pruning import pruning_table
from pade_bench.runs.files import digest
from pade_bench.runs.names import file_name

# A group takes some 30 ms of drawing in each kind of figure, and as many kB of the page.
GROUPS_DRAWN = 150
_LEARNED = (
    "Of the first finished seed; behind is the density of each layer's inputs. Where the noise is "
    "small, as RPAU's 1 % is, its band is no wider than the line."
)
_SPREAD = (
    "Lines are means over the finished seeds, bands ± one sample standard deviation. Of many "
    "activations the Padé units, ReLU and the best three are in color, without bands the others."
)
_DOTS = (
    "Dots are means over seeds, lines Student's 95 % intervals (cut at the edge), ticks the single "
    "seeds; a triangle with a number lies beyond the edge."
)
_TIME = "Training time: the median epoch times the number of epochs."


def leaderboard(boards: Sequence[Board], drawn: Sequence[Board], plan: Plan) -> Section:
    """Return the answer: across experiments, then for each of them."""
    section = Section("Leaderboard", notes=[_DOTS, _TIME, *board_notes()])
    if rows := across(boards):
        table = across_table(rows)
        section.items.append(Answer("across", table.title, verdict_across(rows), [], table))
    for board in boards:
        suffix = board_suffix(*board.scope)
        pictures = []
        if board in drawn:
            pictures = [
                plan.add(Picture(f"{name}_{suffix}", f"{title}: {board.title}"),
                         functools.partial(draw, board))
                for name, title, draw in (
                    ("leaderboard", "Test accuracies, sorted", dots),
                    ("time", "Test accuracy against training time", time_and_accuracy),
                )
            ]  # fmt: skip
        table = board_table(board, f"leaderboard_{suffix}")
        section.items.append(Answer(f"board_{suffix}", board.title, board.verdict, pictures, table))
    if long := legend(group for board in boards for group in board.groups):
        lines = [(line, "") for line in long]
        section.items.insert(0, Folded("Short names of settings", lines, opened=True))
    return section


def most_complete(boards: Sequence[Board]) -> list[Board]:
    """Return the boards that are drawn: the first of them, up to a number of groups."""
    drawn: list[Board] = []
    n_groups = 0
    for board in boards:
        n_groups += len(board.entries)
        if not drawn or n_groups <= GROUPS_DRAWN:
            drawn.append(board)
    return drawn


def details(boards: Sequence[Board], plan: Plan) -> list[Section]:
    """Return curves, learned functions and tests of what is not in the paper, then of its runs."""
    ours: dict[tuple[str, Changes], list[Board]] = {}
    for board in boards:
        experiment, protocol = board.scope
        name = "" if experiment in paper.experiments() else experiment
        ours.setdefault((name, protocol), []).append(board)
    # What is only the paper's comes last, beside its tables and figures.
    return [
        section
        for scope in sorted(ours, key=lambda scope: scope == ("", ()))
        if (section := _details(*scope, [g for b in ours[scope] for g in b.groups], plan))
    ]


def _details(
    experiment: str, protocol: Changes, groups: Sequence[Group], plan: Plan
) -> Section | None:
    settings = f", {groups[0].settings}" if protocol else ""
    title = f"{experiment_label(experiment) or 'Experiments of the paper'}{settings}"
    suffix = board_suffix(experiment or "paper", protocol)
    section = Section(title)
    if experiment or protocol:
        experiments = sorted({g.experiment for g in groups})
        section.notes.append(_SPREAD)
        section.items.append(
            plan.add(
                Picture(f"curves_{suffix}", f"Learning curves: {title}"),
                functools.partial(learning_curves, experiments, groups),
            )
        )
        if rows := plan.curves(groups):
            section.items.append(
                plan.add(
                    Picture(
                        f"learned_{suffix}", f"Learned activation functions: {title}",
                        notes=[_LEARNED],
                    ),
                    functools.partial(learned_activations, rows),
                )
            )  # fmt: skip
    found = scores(groups)
    if pairs := pair_table(f"paired_{suffix}", f"Paired comparison: {title}", found):
        section.items.append(pairs)
    if ranking := rank_all(found):
        named = {g.label: (g.activation, g.variant) for g in groups}
        section.items.append(
            plan.add(
                Picture(f"ranks_{suffix}", f"Mean ranks: {title}", notes=ranking_notes(ranking)),
                functools.partial(critical_difference, ranking, named),
            )
        )
    return section if section.items else None


def board_suffix(experiment: str, protocol: Changes) -> str:
    """Return what ends the names of files about an experiment with its settings."""
    return file_name(experiment + (f"-{digest(protocol)[:8]}" if protocol else ""))


def of_the_paper(groups: Sequence[Group], plan: Plan) -> Section:
    """Return the paper's tables and figures that have a run, and a folded list of the others."""
    standard = [g for g in groups if not g.protocol and g.pruned_share is None]
    tables = [accuracy_table(sweep, standard) for sweep in paper.tables()]
    tables += [count_table(groups), parameter_table(groups)]
    tables = [table for table in tables if not table.empty]
    pruned = pruning_table(groups)
    pictures = _figures(standard, plan)
    if pruned:
        pictures["figure4"] = plan.add(
            Picture(
                "figure4",
                "Figure 4: pruned networks",
                notes=["Means over the finished seeds ± one sample standard deviation."],
            ),
            functools.partial(pruning, [g for g in groups if g.pruned_share is not None]),
        )
    pictures["figure1"] = plan.add(
        Picture(
            "figure1",
            "Figure 1: Padé units that approximate common activations",
            notes=["Initial coefficients for 1 + |b1 x + … + bn x^n|, fitted where shaded."],
        ),
        approximations,
    )
    items: list[Table | Picture | Answer | Folded] = [*tables]
    items += [pictures[key] for key in sorted(pictures)]
    if pruned:
        items.insert(items.index(pictures["figure4"]) + 1, pruned)
    items.append(coefficient_table())
    shown = [item.key for item in items if isinstance(item, (Table, Picture))]
    if absent := missing(groups, shown):
        names = "; ".join(m.what for m in absent)
        items.append(
            Folded(f"Not run yet: {names}", [(f"{m.what} ({m.cost})", m.command) for m in absent])
        )
    return Section("Tables and figures of the paper", items, [_SPREAD])


def _figures(groups: Sequence[Group], plan: Plan) -> dict[str, Picture]:
    """Plan the figures on training that have a finished run."""
    found = {}
    # Those that take longest begin first, so that no core waits for the last one.
    if rows := plan.curves(
        [g for g in groups if g.experiment in paper.sweep("table2").experiments]
    ):
        found["figure3"] = plan.add(
            Picture("figure3", "Figure 3: learned activation functions", notes=[_LEARNED]),
            functools.partial(learned_activations, rows),
        )
    for figure in reversed(paper.curve_figures()):
        mine = [g for g in groups if g.experiment in figure.experiments and g.finished]
        if not mine:
            continue
        notes = [figure.note] if figure.note else []
        if absent := _absent(figure, mine):
            notes.append(f"Not drawn, as no run has finished: {absent}.")
        found[figure.key] = plan.add(
            Picture(figure.key, figure.title, notes=notes),
            functools.partial(learning_curves, figure.experiments, mine),
        )
    return found


def _absent(figure: CurveFigure, groups: Sequence[Group]) -> str:
    """Return what the paper shows in a figure and has no finished run here."""
    finished = {(g.experiment, g.activation) for g in groups}
    cells = paper.sweep(figure.table).cells
    parts = []
    for experiment in figure.experiments:
        wanted = [a for e, a in cells if e == experiment]
        absent = [a for a in wanted if (experiment, a) not in finished]
        names = "all" if absent == wanted else ", ".join(map(activation_label, absent))
        if absent:
            parts.append(f"{experiment_label(experiment)} ({names})")
    return "; ".join(parts)
