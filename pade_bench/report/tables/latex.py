"""Tables in LaTeX."""

from __future__ import annotations

import re

from pade_bench.report.tables import BEST, SECOND, Cell, Table, spans


def to_latex(table: Table) -> str:
    r"""Return a booktabs table that fits the page of an ``article``.

    A table too wide for it is rotated and set smaller; a long one continues on the next page.
    Its first line says which packages it needs.
    """
    head = _latex_head(table)
    body = []
    for row in table.rows:
        if len(row) == 1:
            width = len(table.columns)
            body += [rf"\addlinespace \multicolumn{{{width}}}{{l}}{{{latex(row[0].text)}}} \\"]
        else:
            body.append(" & ".join([latex(row[0].text), *map(_latex_cell, row[1:])]) + r" \\")
    # LaTeX counts tables by itself.
    title = latex(re.sub(r"^(Table \d): (.*)", r"\2 (\1 of the paper)", table.title))
    caption = rf"\caption[{title}]{{{title}. {latex(' '.join(table.notes))}}}"
    caption += rf"\label{{tab:{table.key}}}"
    columns = f"{{l{'r' * (len(table.columns) - 1)}}}"
    size, rotated = _latex_size(table)
    gap = rf"\setlength{{\tabcolsep}}{{{_LATEX_GAP}pt}}"
    if not rotated and len(table.rows) <= 40:
        return "\n".join([
            r"% \usepackage{booktabs}", r"\begin{table}", r"\centering", size, gap,
            rf"\begin{{tabular}}{columns}", *head, *body, r"\bottomrule", r"\end{tabular}",
            caption, r"\end{table}", "",
        ])  # fmt: skip
    begin, end = (r"\begin{landscape}", r"\end{landscape}") if rotated else ("{", "}")
    return "\n".join([
        r"% \usepackage{booktabs,longtable,lscape}", begin, size, gap,
        r"\setlength{\LTcapwidth}{\linewidth}", rf"\begin{{longtable}}{columns}",
        caption + r" \\", *head, r"\endfirsthead", *head, r"\endhead", *body,
        r"\bottomrule", r"\end{longtable}", end, "",
    ])  # fmt: skip


def _latex_cell(cell: Cell) -> str:
    text = latex(cell.text)
    if ", " in text:  # what is missing: on lines of its own, as no page is that wide
        lines = text.replace(", ", r"\\")
        text = rf"\begin{{tabular}}[t]{{@{{}}r@{{}}}}{lines}\end{{tabular}}"
    return {BEST: rf"\textbf{{{text}}}", SECOND: rf"\underline{{{text}}}"}.get(cell.mark, text)


def _latex_head(table: Table) -> list[str]:
    head = [r"\toprule"]
    if any(group for group, _ in table.columns):
        heads, rules, at = [], [], 1
        for group, span in spans(table.columns):
            heads.append(rf"\multicolumn{{{span}}}{{c}}{{{latex(group)}}}" if group else "")
            heads += [""] * (span - 1 if not group else 0)
            if group:
                rules.append(rf"\cmidrule(lr){{{at}-{at + span - 1}}}")
            at += span
        head += [" & ".join(heads) + r" \\", " ".join(rules)]
    return [*head, " & ".join(latex(name) for _, name in table.columns) + r" \\", r"\midrule"]


def _latex_size(table: Table) -> tuple[str, bool]:
    """Return the largest type in which the table fits a page, and whether it must be rotated."""
    columns = [[name] for _, name in table.columns]
    for row in (row for row in table.rows if len(row) > 1):
        for column, cell in zip(columns, row, strict=True):
            column += [cell.text] if column is columns[0] else cell.text.split(", ")
    characters = sum(max(map(len, column)) for column in columns)
    gaps = 2 * _LATEX_GAP * len(columns)
    fitting = [
        (size, rotated)
        for size, points, rotated in _LATEX_SIZES
        if points * characters + gaps <= _LATEX_PAGE[rotated]
    ]
    return fitting[0] if fitting else (r"\tiny", True)


# Sizes of type in a 10 pt article, the width of a digit, and whether the page is rotated for it.
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
