"""Putting the report together and writing its files."""

from __future__ import annotations

import functools
import hashlib
import io
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from pade_bench.plots import LayerCurve, load_curves
from pade_bench.report import accuracy, figures, paper, results
from pade_bench.report.groups import Changes, Group, describe, group_runs
from pade_bench.report.page import Picture, Section, inline_svg, render
from pade_bench.report.paper import AccuracyTable
from pade_bench.report.records import Result, read_runs
from pade_bench.report.statistics import rank_all
from pade_bench.report.style import INK, RC
from pade_bench.report.tables import Table
from pade_bench.runs import write_atomically, writing_to

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
    plan = _Plan(problems)
    sections = [_tables(groups), _figures(groups, plan)]
    for (experiment, protocol), found in sorted(_scopes(groups).items()):
        sections.append(_scope(experiment, protocol, found, plan))
    with writing_to(out_dir):
        plan.draw(out_dir / "figures")
        for section in sections:
            for item in section.items:
                if isinstance(item, Table):
                    path = out_dir / "tables" / item.key
                    _write(path.with_name(f"{item.key}.md"), item.to_markdown().encode())
                    _write(path.with_name(f"{item.key}.csv"), item.to_csv().encode())
                    _write(path.with_name(f"{item.key}.tex"), item.to_latex().encode())
        page = render(_numbers(runs, problems), _origin(runs), problems, sections)
        _write(out_dir / "index.html", page.encode())
    return problems


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # A report can be made again: no need to wait for the disk.
    write_atomically(path, content, durable=False)


Draw = Callable[[], Figure | None]


class _Plan:
    """The figures to be drawn. Drawing takes longer than all the rest, so all cores do it."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        self.pictures: list[Picture] = []
        self.draws: list[Draw] = []

    def add(self, picture: Picture, draw: Draw) -> Picture:
        """Plan a figure: what ``draw`` returns will be in ``picture``."""
        self.pictures.append(picture)
        self.draws.append(draw)
        return picture

    def draw(self, folder: Path) -> None:
        """Draw all figures and write them as PNG and PDF; remove outdated ones."""
        jobs = [(p.key, draw) for p, draw in zip(self.pictures, self.draws, strict=True)]
        with ProcessPoolExecutor(min(len(jobs), os.cpu_count() or 1)) as pool:
            for picture, drawn in zip(self.pictures, pool.map(_render, jobs), strict=True):
                png, pdf = (folder / f"{picture.key}.{suffix}" for suffix in ("png", "pdf"))
                if drawn is None:
                    png.unlink(missing_ok=True)
                    pdf.unlink(missing_ok=True)
                else:
                    _write(png, drawn[0])
                    _write(pdf, drawn[1])
                    picture.svg = inline_svg(drawn[2], picture.title, INK)

    def curves(self, groups: Sequence[Group]) -> list[tuple[Group, list[LayerCurve]]]:
        """Return the learned Padé units of each group's first run that has them."""
        found = []
        for group in sorted(groups, key=lambda g: (g.experiment, g.activation, g.variation)):
            if group.activation in paper.PADE and (layers := self._layers(group)):
                found.append((group, layers))
        return found

    def _layers(self, group: Group) -> list[LayerCurve] | None:
        for run in group.finished:
            path = run.directory / "activations.npz"
            if path.exists():
                try:
                    return load_curves(path)
                except Exception as error:
                    # Damage shows in as many exceptions as there are libraries in between.
                    self.problems.append(f"{path}: cannot be read ({error})")
        return None


def _render(job: tuple[str, Draw]) -> tuple[bytes, bytes, str] | None:
    """Draw one figure; return it as PNG, PDF and SVG, ``None`` if there is nothing to draw."""
    key, draw = job
    # The salt makes the names within an SVG differ from those of the page's other figures.
    with matplotlib.rc_context({**RC, "svg.hashsalt": key}):
        figure = draw()
        if figure is None:
            return None
        png = _png(figure)
        # Arranged once, the figure keeps its layout: that takes as long as drawing.
        figure.set_layout_engine("none")
        return png, _pdf(figure), _svg(figure)


# Figure.savefig draws everything twice; the canvases below it draw once.


def _png(figure: Figure) -> bytes:
    content = io.BytesIO()
    figure.set_dpi(150)
    FigureCanvasAgg(figure).print_png(content)
    return content.getvalue()


def _pdf(figure: Figure) -> bytes:
    content = io.BytesIO()
    figure.set_dpi(72)
    # Without a date, the same runs give the same bytes.
    FigureCanvasPdf(figure).print_pdf(content, metadata={"CreationDate": None})
    return content.getvalue()


def _svg(figure: Figure) -> str:
    content = io.StringIO()
    figure.patch.set_visible(False)
    for panel in figure.axes:
        panel.patch.set_visible(False)
    FigureCanvasSVG(figure).print_svg(content, metadata={"Date": None})
    return content.getvalue()


def _tables(groups: Sequence[Group]) -> Section:
    section = Section("Tables of the paper")
    section.items += [accuracy.accuracy_table(layout, groups) for layout in paper.TABLES]
    section.items += [results.table5(groups), results.parameter_table(groups), results.table6()]
    return section


def _figures(groups: Sequence[Group], plan: _Plan) -> Section:
    standard = [g for g in groups if not g.protocol and g.pruned_share is None]
    found: dict[str, Picture] = {}
    # Those that take longest begin first, so that no core waits for the last one.
    for layout in reversed(paper.CURVES):
        first = layout.experiments[0]
        activations = next(t.activations for t in paper.TABLES if first in t.experiments)
        mine = [g for g in standard if g.experiment in layout.experiments]
        command = paper.command(
            ",".join(layout.experiments), activations, paper.expected_seeds(first) or 1
        )
        notes = [layout.note] if layout.note else []
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
                command=paper.command(",".join(paper.PRUNING), ("pau", "relu"), 1),
            ),
            functools.partial(figures.pruning, [g for g in groups if g.pruned_share is not None]),
        ),
    }
    learned = Picture(
        "figure3",
        "Figure 3: learned activation functions",
        notes=["Of the first finished seed; behind is the density of each layer's inputs."],
        command=paper.command(",".join(paper.FIGURE3), paper.PADE, 1),
    )
    rows = plan.curves([g for g in standard if g.experiment in paper.FIGURE3])
    draw = functools.partial(figures.learned_activations, rows) if rows else _nothing
    found["figure3"] = plan.add(learned, draw)
    items: list[Table | Picture] = [found[key] for key in sorted(found)]
    if numbers := accuracy.pruning_table(groups):
        items.insert(items.index(found["figure4"]) + 1, numbers)
    return Section("Figures of the paper", items)


def _nothing() -> None:
    return None


def _scopes(groups: Sequence[Group]) -> dict[tuple[str, Changes], list[Group]]:
    """Return the groups that can be compared with each other.

    The experiments of the paper belong together, ``""``; any other stands alone.
    """
    scopes: dict[tuple[str, Changes], list[Group]] = {}
    for g in groups:
        if g.pruned_share is None:
            name = "" if g.experiment in paper.EXPERIMENTS else g.experiment
            scopes.setdefault((name, g.protocol), []).append(g)
    return scopes


def _scope(experiment: str, protocol: Changes, groups: Sequence[Group], plan: _Plan) -> Section:
    """Return what the paper does not have: its experiments compared, and other experiments."""
    experiments = tuple(sorted({g.experiment for g in groups}))
    name = experiment or "experiments of the paper"
    settings = describe(protocol)
    title = f"{name}, {settings}" if protocol else name
    section = Section(title[:1].upper() + title[1:] if not experiment else title)
    suffix = experiment or "paper"
    if protocol:
        suffix += f"-{hashlib.sha256(repr(protocol).encode()).hexdigest()[:8]}"
    suffix = re.sub(r"[^\w-]", "_", suffix)
    if experiment:
        layout = AccuracyTable(f"accuracy_{suffix}", f"Accuracy: {title}", experiments, (), 0)
        section.items.append(accuracy.accuracy_table(layout, groups))
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
                    Picture(f"learned_{suffix}", f"Learned activation functions: {title}"),
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
        counts = Counter(str(r.provenance[key])[:60] for r in runs if r.provenance.get(key))
        if counts:
            listed = [f"{value} ({n:,} runs)" for value, n in counts.most_common(4)]
            more = len(counts) - len(listed)
            sentences.append(f"{words}: {', '.join(listed)}{f' and {more} more' if more else ''}.")
    return sentences
