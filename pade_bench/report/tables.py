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
        r"""Return a booktabs table that fits the page of an ``article``.

        A table too wide for it is turned and set smaller; a long one continues on the next page.
        Its first line says which packages it needs.
        """

        def cell(cell: Cell) -> str:
            text = latex(cell.text)
            if ", " in text:  # what lacks: on lines of its own, as no page is that wide
                lines = text.replace(", ", r"\\")
                text = rf"\begin{{tabular}}[t]{{@{{}}r@{{}}}}{lines}\end{{tabular}}"
            return {BEST: rf"\textbf{{{text}}}", SECOND: rf"\underline{{{text}}}"}.get(
                cell.mark, text
            )

        width = len(self.columns)
        head = [r"\toprule"]
        if any(group for group, _ in self.columns):
            heads, rules, at = [], [], 1
            for group, span in spans(self.columns):
                heads.append(rf"\multicolumn{{{span}}}{{c}}{{{latex(group)}}}" if group else "")
                heads += [""] * (span - 1 if not group else 0)
                if group:
                    rules.append(rf"\cmidrule(lr){{{at}-{at + span - 1}}}")
                at += span
            head += [" & ".join(heads) + r" \\", " ".join(rules)]
        head += [" & ".join(latex(name) for _, name in self.columns) + r" \\", r"\midrule"]
        body = []
        for row in self.rows:
            if len(row) == 1:
                body += [rf"\addlinespace \multicolumn{{{width}}}{{l}}{{{latex(row[0].text)}}} \\"]
            else:
                body.append(" & ".join([latex(row[0].text), *map(cell, row[1:])]) + r" \\")
        # LaTeX counts tables by itself.
        title = latex(re.sub(r"^(Table \d): (.*)", r"\2 (\1 of the paper)", self.title))
        caption = rf"\caption[{title}]{{{title}. {latex(' '.join(self.notes))}}}"
        caption += rf"\label{{tab:{self.key}}}"
        columns = f"{{l{'r' * (width - 1)}}}"
        size, turned = self._latex_size()
        gap = rf"\setlength{{\tabcolsep}}{{{_LATEX_GAP}pt}}"
        if not turned and len(self.rows) <= 40:
            return "\n".join([
                r"% \usepackage{booktabs}", r"\begin{table}", r"\centering", size, gap,
                rf"\begin{{tabular}}{columns}", *head, *body, r"\bottomrule", r"\end{tabular}",
                caption, r"\end{table}", "",
            ])  # fmt: skip
        begin, end = (r"\begin{landscape}", r"\end{landscape}") if turned else ("{", "}")
        return "\n".join([
            r"% \usepackage{booktabs,longtable,lscape}", begin, size, gap,
            r"\setlength{\LTcapwidth}{\linewidth}", rf"\begin{{longtable}}{columns}",
            caption + r" \\", *head, r"\endfirsthead", *head, r"\endhead", *body,
            r"\bottomrule", r"\end{longtable}", end, "",
        ])  # fmt: skip

    def _latex_size(self) -> tuple[str, bool]:
        """Return the largest type in which the table fits a page, and whether it must be turned."""
        columns = [[name] for _, name in self.columns]
        for row in (row for row in self.rows if len(row) > 1):
            for column, cell in zip(columns, row, strict=True):
                column += [cell.text] if column is columns[0] else cell.text.split(", ")
        characters = sum(max(map(len, column)) for column in columns)
        gaps = 2 * _LATEX_GAP * len(columns)
        fitting = [
            (size, turned)
            for size, points, turned in _LATEX_SIZES
            if points * characters + gaps <= _LATEX_PAGE[turned]
        ]
        return fitting[0] if fitting else (r"\tiny", True)

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


# Sizes of type in a 10 pt article, the width of a digit, and whether the page is turned for it.
_LATEX_SIZES = (
    (r"\small", 4.63, False), (r"\footnotesize", 4.25, False), (r"\small", 4.63, True),
    (r"\footnotesize", 4.25, True), (r"\scriptsize", 3.99, True), (r"\tiny", 3.8, True),
)  # fmt: skip
_LATEX_PAGE = {False: 345, True: 550}  # width in points
_LATEX_GAP = 3  # points, on either side of a column
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$",
    "≥": r"$\geq$", "≤": r"$\leq$", "<": r"$<$", ">": r"$>$", "×": r"$\times$", "–": "--",
    "−": r"$-$", "Δ": r"$\Delta$", "α": r"$\alpha$", "|": r"\textbar{}", "…": r"\dots{}",
}  # fmt: skip
_SPECIAL = re.compile("|".join(map(re.escape, _LATEX)))


def latex(text: str) -> str:
    """Escape text for LaTeX."""
    return _SPECIAL.sub(lambda match: _LATEX[match[0]], text)
