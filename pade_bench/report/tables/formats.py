"""Forms of a table: Markdown and HTML; and its data as CSV."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Iterable
from typing import Any

from pade_bench.report.tables import BEST, SECOND, Cell, Table, spans

# Characters that Markdown, or GitHub's, takes for more than themselves; an underscore within a word
# is none of them.
_MARKDOWN = re.compile(r"[\\`*\[\]<>|~$]|&(?=#?\w+;)|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


def to_csv(table: Table) -> str:
    """Return ``table.data`` as comma-separated values; unknown values are empty.

    Names may be anybody's, and a spreadsheet runs a text that begins with ``=``, ``+``, ``-`` or
    ``@`` as a formula: such a text begins with an apostrophe.
    """
    columns = list(dict.fromkeys(key for line in table.data for key in line))
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: _inert(v) for k, v in line.items()} for line in table.data)
    return out.getvalue()


def _inert(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in tuple("=+-@") else value


def markdown(text: str) -> str:
    """Return Markdown that shows a text as it is."""
    return _MARKDOWN.sub(r"\\\g<0>", text)


def to_markdown(table: Table) -> str:
    """Return a Markdown table: best bold, second underlined."""

    def cell(cell: Cell) -> str:
        marks = {BEST: "**{}**", SECOND: "<u>{}</u>"}
        return marks.get(cell.mark, "{}").format(markdown(cell.text))

    def line(texts: Iterable[str]) -> str:
        return f"| {' | '.join(texts)} |"

    names = [markdown(f"{group}: {name}" if group else name) for group, name in table.columns]
    lines = [f"### {markdown(table.title)}", "", line(names)]
    lines.append(line([":--"] + ["--:"] * (len(names) - 1)))
    for row in table.rows:
        texts = [f"*{markdown(row[0].text)}*"] if len(row) == 1 else [cell(c) for c in row]
        lines.append(line(texts + [""] * (len(names) - len(texts))))
    return "\n".join([*lines, "", *(f"{markdown(note)}\n" for note in table.notes)])


def to_html(table: Table) -> str:
    """Return a ``<table>`` with its notes, without the title."""
    head = ""
    if any(group for group, _ in table.columns):
        head = "".join(
            f'<th colspan="{span}"{" class=group" if group else ""}>{html.escape(group)}</th>'
            for group, span in spans(table.columns)
        )
        head = f"<tr>{head}</tr>"
    head += "".join(f"<th>{html.escape(name)}</th>" for _, name in table.columns)
    body = []
    for row in table.rows:
        if len(row) == 1:
            text = html.escape(row[0].text)
            body.append(f'<tr class=block><th colspan="{len(table.columns)}">{text}</th></tr>')
            continue
        cells = [f"<th>{html.escape(row[0].text)}</th>"]
        cells += [
            f"<td{f' class={c.mark}' if c.mark else ''}>{html.escape(c.text)}</td>" for c in row[1:]
        ]
        body.append(f"<tr>{''.join(cells)}</tr>")
    notes = "".join(f"<p class=note>{html.escape(note)}</p>" for note in table.notes)
    text = f"<table><thead>{head}</thead><tbody>{''.join(body)}</tbody></table>"
    return f"<div class=scroll tabindex=0>{text}</div>{notes}"
