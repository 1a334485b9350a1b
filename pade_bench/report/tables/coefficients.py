"""Table 6: the initial coefficients of Padé units."""

from __future__ import annotations

from fractions import Fraction

from pade_bench.report import paper
from pade_bench.report.tables import Cell, Table, no_value


def coefficient_table() -> Table:
    """Return Table 6: the initial coefficients in use beside those the paper prints."""
    lines = paper.initial_coefficients()
    rows_by_form = {(line["form"], line["function"]): line for line in lines}
    functions = list(dict.fromkeys(line["function"] for line in lines))
    coefficients = [*(f"a{j}" for j in range(6)), *(f"b{k}" for k in range(1, 5))]
    forms = ("sum_of_abs", "abs_of_sum")
    table = Table(
        "table6",
        "Table 6: initial coefficients",
        [("", "function"), ("", "source"), *(("", name) for name in coefficients)],
    )
    reference = paper.reference_values()
    for function in functions:
        for form in ("paper", *forms):
            row = [Cell(function if form == "paper" else ""), Cell(form.replace("_", " "))]
            for name in coefficients:
                printed = reference.get(("table6", function, name))
                ours = rows_by_form.get((form, function))
                if form == "paper":
                    row.append(Cell(printed.text) if printed else no_value())
                elif ours:
                    row.append(Cell(_short(ours[name])))
                    value = float(Fraction(ours[name]))
                    table.data.append(
                        {
                            "function": function,
                            "form": form,
                            "coefficient": name,
                            "value": value,
                            "paper": printed.value if printed else None,
                            "difference": value - printed.value if printed else None,
                        }
                    )
            table.rows.append(row)
    table.notes = [
        'Rows "paper" are as printed; – where the text has lost the number. The paper\'s '
        "coefficients were fitted for the denominator 1 + |b1 x| + … + |bn x^n| (sum of abs); for "
        "1 + |b1 x + … + bn x^n| (abs of sum), the paper's Eq. 2 and the default here, we fitted "
        "our own."
    ]
    return table


def _short(number: str) -> str:
    return number if "/" in number or len(number) <= 10 else f"{float(number):.8f}"
