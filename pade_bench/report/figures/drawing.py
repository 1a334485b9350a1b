"""Drawing many figures at once, each as PNG, PDF and SVG."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from pade_bench.errors import printable
from pade_bench.report.figures.style import INK, RC
from pade_bench.report.groups import Group
from pade_bench.report.names import PADE
from pade_bench.report.page import Picture, inline_svg
from pade_bench.runs.curves import LayerCurve, load_curves
from pade_bench.runs.files import write_atomically

Draw = Callable[[], Figure | None]


class Plan:
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

    def draw(self, folder: Path) -> set[Path]:
        """Draw all figures and write them as PNG and PDF; return the files."""
        jobs = [(p.key, draw) for p, draw in zip(self.pictures, self.draws, strict=True)]
        written = set()
        with ProcessPoolExecutor(min(len(jobs), os.cpu_count() or 1)) as pool:
            for picture, drawn in zip(self.pictures, pool.map(_render, jobs), strict=True):
                if isinstance(drawn, str):
                    self.problems.append(f"{picture.title}: cannot be drawn ({drawn})")
                elif drawn is not None:
                    for suffix, content in zip(("png", "pdf"), drawn[:2], strict=True):
                        path = folder / f"{picture.key}.{suffix}"
                        write(path, content)
                        written.add(path)
                    picture.svg = inline_svg(drawn[2], picture.title, INK)
        return written

    def curves(self, groups: Sequence[Group]) -> list[tuple[Group, list[LayerCurve]]]:
        """Return the learned Padé units of each group's first run that has them."""
        found = []
        for group in sorted(groups, key=lambda g: (g.experiment, *g.kind)):
            if group.activation in PADE and (layers := self._layers(group)):
                found.append((group, layers))
        return found

    def _layers(self, group: Group) -> list[LayerCurve] | None:
        for run in group.finished:
            path = run.directory / "activations.npz"
            if os.path.lexists(path):
                try:
                    return load_curves(path)
                except Exception as error:
                    # Damage shows in as many exceptions as there are libraries in between.
                    self.problems.append(printable(f"{path}: cannot be read ({error})"))
        return None


def write(path: Path, content: bytes) -> None:
    """Write a file of the report whole, and its folder if there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # A report can be made again: no need to wait for the disk.
    write_atomically(path, content, durable=False)


def _render(job: tuple[str, Draw]) -> tuple[bytes, bytes, str] | str | None:
    """Draw one figure; return it as PNG, PDF and SVG, what is wrong, or nothing to be drawn."""
    try:
        return _forms(*job)
    except Exception as error:  # one damaged record must not cost the whole report
        return printable(f"{type(error).__name__}: {error}")


def _forms(key: str, draw: Draw) -> tuple[bytes, bytes, str] | None:
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
