"""Fit the initial coefficients anew, print their largest errors, compare with the package's table.

    python scripts/fit_coefficients.py [--write]

Table 6 of the paper stands below as printed, with exact Padé approximants for its three columns
that are lost; the rest is fitted, and rounded to the digits on which all machines agree. The table
is pade_bench/activations/coefficients.csv; without ``--write`` it stays as it is, and with it, what
agrees. Exit status: 0; 1 if it differs.
"""

from __future__ import annotations

import argparse
import csv
import io
import math
import os
import sys
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import torch

from pade_bench.activations import coefficients
from pade_bench.activations.coefficients import FUNCTIONS, TABLE_DEGREES
from pade_bench.activations.fitting import GRID_POINTS, fit_function
from pade_bench.functional import pau

FILE = Path(coefficients.__file__).with_name("coefficients.csv")
M, N = TABLE_DEGREES
FIELDS = (
    *("form", "function"),
    *(f"a{j}" for j in range(M + 1)),
    *(f"b{k}" for k in range(1, N + 1)),
    *("max_error", "max_error_10", "origin"),
)

# Of a fit, on which all machines agree: function values that are wrong by four units in the last
# place, as another machine's may be, change the eighth. The rows that were written with nine digits
# stay: others would change the bits of every run.
DIGITS = 6

# An approximant is determined by its function; ours were computed anew.
EXACT_PADE = {
    "sigmoid": "1/2 1/4 1/18 1/144 1/2016 1/60480  0 1/9 0 1/1008",
    "tanh": "0 1 0 1/9 0 1/945  0 4/9 0 1/63",
    "swish": "0 1/2 1/4 3/56 1/168 1/3360  0 3/28 0 1/1680",
}
TABLE_6 = {
    "relu": "0.02996348 0.61690165 2.37539147 3.06608078 1.52474449 0.25281987"
    "  1.19160814 4.40811795 0.91111034 0.34885983",
    "lrelu_0.01": "0.02979246 0.61837738 2.32335207 3.05202660 1.48548002 0.25103717"
    "  1.14201226 4.39322834 0.87154450 0.34720652",
    "lrelu_0.20": "0.02557776 0.66182815 1.58182975 2.94478759 0.95287794 0.23319681"
    "  0.50962605 4.18376890 0.37832090 0.32407314",
    "lrelu_0.25": "0.02423485 0.67709718 1.43858363 2.95497990 0.85679722 0.23229612"
    "  0.41014746 4.14691964 0.30292546 0.32002850",
    "lrelu_0.30": "0.02282366 0.69358438 1.30847432 2.97681599 0.77165297 0.23252265"
    "  0.32849543 4.11557902 0.24155603 0.31659365",
    "lrelu_-0.5": "0.02650441 0.80772912 13.56611639 7.00217900 11.61477781 0.68720375"
    "  13.70648993 6.07781733 12.32535229 0.54006880",
}


def rows() -> Iterator[dict[str, str]]:
    """Yield the rows of the file."""
    for name, values in EXACT_PADE.items():
        for form in ("sum_of_abs", "abs_of_sum", "unsafe"):
            yield row(form, name, values.split(), "exact Padé approximant")
    for name, values in TABLE_6.items():
        yield row("sum_of_abs", name, values.split(), "Table 6")
        a, b = fit_function(FUNCTIONS[name], TABLE_DEGREES, "abs_of_sum")
        # What is below 1e-10 is rounding.
        fitted = [f"{0.0 if abs(c) < 1e-10 else c:.{DIGITS}g}" for c in (*a, *b)]
        for form in ("abs_of_sum", "unsafe"):
            yield row(form, name, fitted, "least-squares fit")


def same(new: dict[str, str], old: dict[str, str] | None) -> bool:
    """Tell whether two rows agree within a unit of the last digit on which all machines agree."""
    if old is None or new["origin"] != old["origin"]:
        return False
    return all(_agree(Fraction(new[key]), Fraction(old[key])) for key in FIELDS[2:-3])


def _agree(a: Fraction, b: Fraction) -> bool:
    if a == b:
        return True
    # A value halfway between two roundings is rounded up on one machine and down on another.
    unit = Fraction(10) ** (math.floor(math.log10(max(abs(a), abs(b)))) + 1 - DIGITS)
    return abs(a - b) <= unit


def row(form: str, name: str, values: Sequence[str], origin: str) -> dict[str, str]:
    """Return a row of the file, its errors computed from its coefficients as written."""
    errors = (f"{largest_error(form, name, values, bound):.4g}" for bound in (3, 10))
    return dict(zip(FIELDS, (form, name, *values, *errors, origin), strict=True))


def largest_error(form: str, name: str, values: Sequence[str], bound: float) -> float:
    """Return the largest distance of the unit from its function on [-bound, bound]."""
    x = torch.linspace(-bound, bound, GRID_POINTS, dtype=torch.float64)
    c = torch.tensor([float(Fraction(v)) for v in values], dtype=torch.float64)
    return (pau(x, c[: M + 1], c[M + 1 :], form) - FUNCTIONS[name](x)).abs().max().item()


def as_csv(table: Sequence[dict[str, str]]) -> str:
    """Return the content of the file."""
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return text.getvalue()


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table of the errors in Markdown, and what differs from the file; return 0 or 1."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--write", action="store_true", help=f"write {FILE.name} if it differs")
    options = parser.parse_args(arguments)
    there = {(r["form"], r["function"]): r for r in csv.DictReader(FILE.open(encoding="utf-8"))}
    table = []
    for new in rows():
        old = there.get((new["form"], new["function"]))
        table.append(old if old is not None and same(new, old) else new)
    print("| form | function | largest error on [-3, 3] | on [-10, 10] | origin |")
    print("|---|---|---|---|---|")
    for r in table:
        print("|", " | ".join(r[k] for k in ("form", "function", *FIELDS[-3:])), "|")
    text, before = as_csv(table), FILE.read_text(encoding="utf-8")
    if text == before:
        print(f"\n{FILE.name} holds the same.")
        return 0
    for line in sorted(set(text.splitlines()) - set(before.splitlines())):
        print(f"\nnot in {FILE.name}: {line}")
    if options.write:
        aside = FILE.with_suffix(".csv.new")
        aside.write_text(text, encoding="utf-8")
        os.replace(aside, FILE)
        print(f"\n{FILE} is written.")
        return 0
    print(f"\n{FILE.name} differs; --write would write it.")
    return 1


if __name__ == "__main__":
    sys.exit(main())
