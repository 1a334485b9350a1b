"""The page that shows everything: one file, no scripts, nothing loaded from elsewhere."""

from __future__ import annotations

import html
import importlib.resources
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from pade_bench.report.names import count
from pade_bench.report.tables import Table
from pade_bench.report.tables.formats import to_html


@dataclass
class Picture:
    """A figure of the page as SVG; none where there was nothing to draw."""

    key: str
    title: str
    svg: str = ""
    notes: list[str] = field(default_factory=list)


@dataclass
class Answer:
    """A question's answer: a sentence, the pictures beside each other, the table."""

    key: str
    title: str
    sentence: str
    pictures: list[Picture]
    table: Table


@dataclass
class Folded:
    """What can be folded away: lines of text, each with a command or none."""

    title: str
    lines: list[tuple[str, str]]
    opened: bool = False


@dataclass
class Section:
    """A part of the page."""

    title: str
    items: list[Table | Picture | Answer | Folded] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def tables(self) -> list[Table]:
        """Return the tables in it."""
        found = [item.table if isinstance(item, Answer) else item for item in self.items]
        return [item for item in found if isinstance(item, Table)]


def render(
    numbers: Sequence[tuple[int, str]],
    origin: Sequence[str],
    problems: Sequence[str],
    sections: Sequence[Section],
) -> str:
    """Return the page.

    Args:
        numbers: what was counted, in words.
        origin: sentences on what made the runs.
        problems: runs that were left out, and why.
        sections: tables and figures.
    """
    counted = "".join(f"<li><b>{n:,}</b>{html.escape(what)}</li>" for n, what in numbers)
    links = "".join(
        f'<a href="#section{i}">{html.escape(section.title)}</a>'
        for i, section in enumerate(sections)
    )
    wrong = ""
    if problems:
        lines = "".join(f"<li>{html.escape(problem)}</li>" for problem in problems)
        wrong = (
            f"<details class=wrong open><summary>{count(len(problems), 'run')} left out, as the "
            f"record cannot be used</summary><ul>{lines}</ul></details>"
        )
    body = "".join(_section(i, section) for i, section in enumerate(sections))
    css = (importlib.resources.files(__package__) / "page.css").read_text(encoding="utf-8")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Activation functions compared</title><style>{css}</style></head><body>"
        "<h1>Activation functions compared</h1>"
        f"<ul class=numbers>{counted}</ul>{wrong}<nav>{links}</nav>{body}"
        f"<footer>{_notes(origin)}</footer></body></html>\n"
    )


def _section(number: int, section: Section) -> str:
    title = html.escape(section.title)
    items = "".join(map(_item, section.items))
    return f"<h2 id=section{number}>{title}</h2>{items}{_notes(section.notes)}"


def _item(item: Table | Picture | Answer | Folded) -> str:
    title = html.escape(item.title)
    if isinstance(item, Folded):
        lines = "".join(
            f"<li>{html.escape(text)}{f' <code>{html.escape(code)}</code>' if code else ''}</li>"
            for text, code in item.lines
        )
        state = " open" if item.opened else ""
        return f"<details{state}><summary>{title}</summary><ul>{lines}</ul></details>"
    head = f"<h3 id={item.key}>{title}</h3>"
    if isinstance(item, Table):
        return head + to_html(item)
    if isinstance(item, Picture):
        return head + _picture(item) if item.svg else ""
    pictures = "".join(_picture(picture) for picture in item.pictures if picture.svg)
    sentence = f"<p class=verdict>{html.escape(item.sentence)}</p>"
    return f"{head}{sentence}<div class=row>{pictures}</div>{to_html(item.table)}"


def _picture(picture: Picture) -> str:
    return (
        f"<figure><div class=scroll tabindex=0>{picture.svg}</div>{_notes(picture.notes)}</figure>"
    )


def _notes(notes: Sequence[str]) -> str:
    return "".join(f"<p class=note>{html.escape(note)}</p>" for note in notes)


def inline_svg(svg: str, label: str, ink: str) -> str:
    """Return matplotlib's SVG for use within HTML: the ink follows the page's text color.

    It is shown in its own size, on a small screen a third smaller, but not so small that nobody
    could read it: then it scrolls.
    """
    svg = svg[svg.index("<svg") :]
    # Its metadata says when and with what it was made, which changes from report to report.
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    width = float(re.search(r'\swidth="([\d.]+)pt"', svg)[1])  # type: ignore[index]
    svg = re.sub(r'\s(width|height)="[\d.]+pt"', "", svg, count=2)
    attributes = f'role="img" aria-label="{html.escape(label, quote=True)}"'
    attributes += f' style="width:{width:.0f}pt;max-width:100%;min-width:{0.66 * width:.0f}pt"'
    return svg.replace("<svg", f"<svg {attributes}", 1).replace(ink, "currentColor")
