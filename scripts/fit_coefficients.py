"""Write pade_bench/activations/coefficients.csv and print each row's largest errors.

    python scripts/fit_coefficients.py

Table 6 of the paper stands below as printed, with exact Padé approximants for its three columns
that are lost; the rest is fitted. A second run on the same machine writes the same file.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import torch

from pade_bench.activations import coefficients
from pade_bench.activations.coefficients import FUNCTIONS, TABLE_DEGREES
from pade_bench.activations.fitting import GRID_POINTS, fit
from pade_bench.functional import pau

FILE = Path(coefficients.__file__).with_name("coefficients.csv")
M, N = TABLE_DEGREES
FIELDS = (
    *("form", "function"),
    *(f"a{j}" for j in range(M + 1)),
    *(f"b{k}" for k in range(1, N + 1)),
    *("max_error", "max_error_10", "origin"),
)

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
        a, b = fit(FUNCTIONS[name], TABLE_DEGREES, "abs_of_sum")
        # Nine significant digits determine a float32; what is below 1e-10 is rounding.
        fitted = [f"{0.0 if abs(c) < 1e-10 else c:.9g}" for c in (*a, *b)]
        for form in ("abs_of_sum", "unsafe"):
            yield row(form, name, fitted, "least-squares fit")


def row(form: str, name: str, values: Sequence[str], origin: str) -> dict[str, str]:
    """Return a row of the file, its errors computed from its coefficients as written."""
    errors = (f"{largest_error(form, name, values, bound):.4g}" for bound in (3, 10))
    return dict(zip(FIELDS, (form, name, *values, *errors, origin), strict=True))


def largest_error(form: str, name: str, values: Sequence[str], bound: float) -> float:
    """Return the largest distance of the unit from its function on [-bound, bound]."""
    x = torch.linspace(-bound, bound, GRID_POINTS, dtype=torch.float64)
    c = torch.tensor([float(Fraction(v)) for v in values], dtype=torch.float64)
    return (pau(x, c[: M + 1], c[M + 1 :], form) - FUNCTIONS[name](x)).abs().max().item()


def main() -> None:
    """Write the file and print a table of the errors in Markdown."""
    table = list(rows())
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    aside = FILE.with_suffix(".csv.new")
    aside.write_text(text.getvalue())
    os.replace(aside, FILE)

    print("| form | function | largest error on [-3, 3] | on [-10, 10] | origin |")
    print("|---|---|---|---|---|")
    for r in table:
        print("|", " | ".join(r[k] for k in ("form", "function", *FIELDS[-3:])), "|")


if __name__ == "__main__":
    main()
