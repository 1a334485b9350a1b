"""The page that shows everything: one file, no scripts, nothing loaded from elsewhere."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from pade_bench.report.tables import Table

_CSS = """
:root { color-scheme: light dark; --ink: #1c1c1e; --soft: #63636b; --paper: #ffffff;
  --line: #d9d9de; --band: #f5f5f7; --accent: #b34700; }
@media (prefers-color-scheme: dark) { :root { --ink: #ececf0; --soft: #a2a2ab; --paper: #17171a;
  --line: #3a3a40; --band: #222226; --accent: #ff9f5a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 84rem; padding: 1.2rem clamp(.8rem, 3vw, 2.4rem) 4rem;
  font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); }
h1 { font-size: 1.6rem; line-height: 1.2; margin: .4rem 0 .6rem; }
h2 { font-size: 1.25rem; margin: 2.6rem 0 .4rem; padding-top: .6rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1.02rem; margin: 1.8rem 0 .5rem; }
a { color: var(--accent); } nav a { display: inline-block; margin: 0 .9rem .3rem 0; }
code { font: .85em ui-monospace, monospace; background: var(--band); padding: .1em .3em;
  border-radius: .25em; overflow-wrap: anywhere; }
.note { color: var(--soft); font-size: .86rem; max-width: 60rem; margin: .4rem 0; }
.numbers { display: flex; flex-wrap: wrap; gap: .5rem 1.6rem; padding: 0; margin: .6rem 0;
  list-style: none; } .numbers b { font-size: 1.3rem; margin-right: .3rem; }
.wrong { border-left: 4px solid var(--accent); background: var(--band); padding: .4rem 1rem; }
.scroll { overflow-x: auto; } .scroll svg { display: block; width: 100%; height: auto; }
table { border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums; }
th, td { padding: .22rem .5rem; text-align: right; white-space: nowrap; }
th { font-weight: 600; } thead tr:last-child th { border-bottom: 1px solid var(--ink); }
th.group { text-align: center; border-bottom: 1px solid var(--line); }
tr > th:first-child { text-align: left; position: sticky; left: 0; background: var(--paper); }
tbody tr:nth-child(even) > * { background: var(--band); }
tr.block th { padding-top: .9rem; text-align: left; font-style: italic; font-weight: 500; }
td.best { font-weight: 700; } td.second { text-decoration: underline; }
td.missing { color: var(--soft); }
summary { cursor: pointer; font-weight: 600; margin: 1rem 0 .4rem; }
@media (max-width: 720px) { .scroll svg { width: 44rem; } th, td { padding: .2rem .45rem; } }
"""


@dataclass
class Picture:
    """A figure of the page: an SVG, or why there is none and the command that would change it."""

    key: str
    title: str
    svg: str = ""
    notes: list[str] = field(default_factory=list)
    command: str = ""


@dataclass
class Section:
    """A part of the page."""

    title: str
    items: list[Table | Picture] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


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
        many = "s" * (len(problems) != 1)
        wrong = (
            f"<details class=wrong open><summary>{len(problems)} run{many} left out, as the "
            f"record cannot be used</summary><ul>{lines}</ul></details>"
        )
    body = "".join(_section(i, section) for i, section in enumerate(sections))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Padé activation units: results</title><style>{_CSS}</style></head><body>"
        f"<h1>Padé activation units: tables and figures from runs</h1>"
        f"<ul class=numbers>{counted}</ul>{_notes(origin)}{wrong}<nav>{links}</nav>{body}"
        "</body></html>\n"
    )


def _section(number: int, section: Section) -> str:
    items = "".join(map(_item, section.items))
    title = html.escape(section.title)
    return f"<h2 id=section{number}>{title}</h2>{_notes(section.notes)}{items}"


def _item(item: Table | Picture) -> str:
    title = html.escape(item.title)
    if isinstance(item, Table):
        if item.empty:
            return (
                f"<details id={item.key}><summary>{title}: no runs yet</summary>"
                f"{item.to_html()}</details>"
            )
        return f"<h3 id={item.key}>{title}</h3>{item.to_html()}"
    if item.svg:
        picture = f"<div class=scroll tabindex=0>{item.svg}</div>{_notes(item.notes)}"
    else:
        picture = (
            "<p class=note>Missing: no run has finished. It is drawn after "
            f"<code>{html.escape(item.command)}</code></p>"
        )
    return f"<h3 id={item.key}>{title}</h3>{picture}"


def _notes(notes: Sequence[str]) -> str:
    return "".join(f"<p class=note>{html.escape(note)}</p>" for note in notes)


def inline_svg(svg: str, label: str, ink: str) -> str:
    """Return matplotlib's SVG for use within HTML: the ink follows the page's text colour."""
    svg = svg[svg.index("<svg") :]
    # Its metadata says when and with what it was made, which changes from report to report.
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\s(width|height)="[\d.]+pt"', "", svg, count=2)
    attributes = f'role="img" aria-label="{html.escape(label, quote=True)}"'
    return svg.replace("<svg", f"<svg {attributes}", 1).replace(ink, "currentColor")
