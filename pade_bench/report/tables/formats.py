"""Forms of a table: Markdown and HTML; and its data as CSV."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Iterable

from pade_bench.report.tables import BEST, SECOND, Cell, Table, spans


def to_csv(table: Table) -> str:
    """Return ``table.data`` as comma-separated values; unknown values are empty."""
    columns = list(dict.fromkeys(key for line in table.data for key in line))
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(table.data)
    return out.getvalue()


def to_markdown(table: Table) -> str:
    """Return a Markdown table: best bold, second underlined."""

    def cell(cell: Cell) -> str:
        marks = {BEST: "**{}**", SECOND: "<u>{}</u>"}
        return marks.get(cell.mark, "{}").format(cell.text)

    def line(texts: Iterable[str]) -> str:
        return f"| {' | '.join(text.replace('|', chr(92) + '|') for text in texts)} |"

    names = [f"{group}: {name}" if group else name for group, name in table.columns]
    lines = [f"### {table.title}", "", line(names)]
    lines.append(line([":--"] + ["--:"] * (len(names) - 1)))
    for row in table.rows:
        texts = [f"*{row[0].text}*"] if len(row) == 1 else [cell(c) for c in row]
        lines.append(line(texts + [""] * (len(names) - len(texts))))
    return "\n".join([*lines, "", *(f"{note}\n" for note in table.notes)])


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
