"""A table and its three forms: Markdown, LaTeX and HTML; and its data as CSV."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

BEST, SECOND, MISSING = "best", "second", "missing"


@dataclass
class Cell:
    """A cell's text, and whether it is the best or second of its column, or says what lacks."""

    text: str
    mark: str = ""


@dataclass
class Table:
    """A table of text.

    Columns have two levels: ``(group, name)``; neighbours of one group share its heading. A row
    of a single cell is a heading within the table. ``data`` holds the same numbers unrounded,
    a dictionary per line of the CSV.
    """

    key: str
    title: str
    columns: list[tuple[str, str]]
    rows: list[list[Cell]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    data: list[dict[str, Any]] = field(default_factory=list)
    empty: bool = False  # nothing in it is ours yet

    def to_csv(self) -> str:
        """Return ``data`` as comma-separated values; unknown values are empty."""
        columns = list(dict.fromkeys(key for line in self.data for key in line))
        out = io.StringIO()
        writer = csv.DictWriter(out, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.data)
        return out.getvalue()

    def to_markdown(self) -> str:
        """Return a Markdown table: best bold, second underlined."""

        def cell(cell: Cell) -> str:
            marks = {BEST: "**{}**", SECOND: "<u>{}</u>"}
            return marks.get(cell.mark, "{}").format(cell.text)

        def line(texts: Iterable[str]) -> str:
            return f"| {' | '.join(text.replace('|', chr(92) + '|') for text in texts)} |"

        names = [f"{group}: {name}" if group else name for group, name in self.columns]
        lines = [f"### {self.title}", "", line(names)]
        lines.append(line([":--"] + ["--:"] * (len(names) - 1)))
        for row in self.rows:
            texts = [f"*{row[0].text}*"] if len(row) == 1 else [cell(c) for c in row]
            lines.append(line(texts + [""] * (len(names) - len(texts))))
        return "\n".join([*lines, "", *(f"{note}\n" for note in self.notes)])

    def to_latex(self) -> str:
        r"""Return a booktabs table; it needs ``\usepackage{booktabs}``."""

        def cell(cell: Cell) -> str:
            text = latex(cell.text)
            return {BEST: rf"\textbf{{{text}}}", SECOND: rf"\underline{{{text}}}"}.get(
                cell.mark, text
            )

        width = len(self.columns)
        lines = [r"% \usepackage{booktabs}", r"\begin{table}", r"\centering", r"\small"]
        lines += [rf"\begin{{tabular}}{{l{'r' * (width - 1)}}}", r"\toprule"]
        if any(group for group, _ in self.columns):
            heads, rules, at = [], [], 1
            for group, span in spans(self.columns):
                heads.append(rf"\multicolumn{{{span}}}{{c}}{{{latex(group)}}}" if group else "")
                heads += [""] * (span - 1 if not group else 0)
                if group:
                    rules.append(rf"\cmidrule(lr){{{at}-{at + span - 1}}}")
                at += span
            lines += [" & ".join(heads) + r" \\", " ".join(rules)]
        lines += [" & ".join(latex(name) for _, name in self.columns) + r" \\", r"\midrule"]
        for row in self.rows:
            if len(row) == 1:
                lines += [rf"\addlinespace \multicolumn{{{width}}}{{l}}{{{latex(row[0].text)}}} \\"]
            else:
                lines.append(" & ".join(map(cell, row)) + r" \\")
        lines += [r"\bottomrule", r"\end{tabular}"]
        caption = " ".join([self.title.rstrip(".") + ".", *self.notes])
        lines += [rf"\caption{{{latex(caption)}}}", rf"\label{{tab:{self.key}}}", r"\end{table}"]
        return "\n".join(lines) + "\n"

    def to_html(self) -> str:
        """Return a ``<table>`` with its notes, without the title."""
        head = ""
        if any(group for group, _ in self.columns):
            head = "".join(
                f'<th colspan="{span}"{" class=group" if group else ""}>{html.escape(group)}</th>'
                for group, span in spans(self.columns)
            )
            head = f"<tr>{head}</tr>"
        head += "".join(f"<th>{html.escape(name)}</th>" for _, name in self.columns)
        body = []
        for row in self.rows:
            if len(row) == 1:
                text = html.escape(row[0].text)
                body.append(f'<tr class=block><th colspan="{len(self.columns)}">{text}</th></tr>')
                continue
            cells = [f"<th>{html.escape(row[0].text)}</th>"]
            cells += [
                f"<td{f' class={c.mark}' if c.mark else ''}>{html.escape(c.text)}</td>"
                for c in row[1:]
            ]
            body.append(f"<tr>{''.join(cells)}</tr>")
        notes = "".join(f"<p class=note>{html.escape(note)}</p>" for note in self.notes)
        table = f"<table><thead>{head}</thead><tbody>{''.join(body)}</tbody></table>"
        return f"<div class=scroll tabindex=0>{table}</div>{notes}"


def spans(columns: Sequence[tuple[str, str]]) -> list[tuple[str, int]]:
    """Return the column groups in order with the number of columns of each."""
    found: list[tuple[str, int]] = []
    for group, _ in columns:
        if found and found[-1][0] == group:
            found[-1] = (group, found[-1][1] + 1)
        else:
            found.append((group, 1))
    return found


def rank(cells: Sequence[tuple[Cell, float | None]], digits: int = 2) -> None:
    """Mark the best and second of a column; what is printed the same is ranked the same."""
    values = sorted({round(v, digits) for _, v in cells if v is not None}, reverse=True)
    if len(values) < 2:
        return
    for cell, value in cells:
        if value is not None and round(value, digits) in values[:2]:
            cell.mark = BEST if round(value, digits) == values[0] else SECOND


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$",
    "≥": r"$\geq$", "<": r"$<$", ">": r"$>$", "×": r"$\times$", "–": "--", "−": r"$-$",
    "Δ": r"$\Delta$", "α": r"$\alpha$",
}  # fmt: skip
_SPECIAL = re.compile("|".join(map(re.escape, _LATEX)))


def latex(text: str) -> str:
    """Escape text for LaTeX."""
    return _SPECIAL.sub(lambda match: _LATEX[match[0]], text)
