from __future__ import annotations

import csv
import importlib.util
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.polynomial import polynomial

from pade_bench.activations import coefficients
from pade_bench.activations.coefficients import FUNCTIONS, initial_coefficients
from pade_bench.activations.fitting import fit_function
from pade_bench.errors import ConfigurationError
from pade_bench.functional import pau
from pade_bench.ops import FORMS

SCRIPT = Path(__file__).parents[2] / "scripts" / "fit_coefficients.py"
LEAKY = [name for name in FUNCTIONS if "relu" in name]
EXACT = ["sigmoid", "tanh", "swish"]


def read_table() -> list[dict[str, str]]:
    with Path(coefficients.__file__).with_name("coefficients.csv").open() as file:
        return list(csv.DictReader(file))


def evaluate(a, b, form: str, x: torch.Tensor) -> torch.Tensor:
    a, b = (torch.as_tensor(c, dtype=torch.float64) for c in (a, b))
    return pau(x, a, b, form)


def largest_error(a, b, form: str, name: str, bound: float = 3.0) -> float:
    x = torch.linspace(-bound, bound, 6001, dtype=torch.float64)
    return (evaluate(a, b, form, x) - FUNCTIONS[name](x)).abs().max().item()


def test_table_has_every_function_in_every_form():
    assert {(r["form"], r["function"]) for r in read_table()} == {
        (form, name) for form in FORMS for name in FUNCTIONS
    }


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        (
            "relu",
            "0.02996348 0.61690165 2.37539147 3.06608078 1.52474449 0.25281987"
            " 1.19160814 4.40811795 0.91111034 0.34885983",
        ),
        (
            "lrelu_0.01",
            "0.02979246 0.61837738 2.32335207 3.05202660 1.48548002 0.25103717"
            " 1.14201226 4.39322834 0.87154450 0.34720652",
        ),
    ],
)
def test_sum_of_abs_holds_table_6_as_printed(name, printed):
    a, b, *_ = initial_coefficients(name, (5, 4), "sum_of_abs")
    assert [*a, *b] == [float(v) for v in printed.split()]


@pytest.mark.parametrize("name", LEAKY)
def test_our_fit_in_the_sum_of_abs_form_finds_table_6_again(name):
    ours = np.concatenate(fit_function(FUNCTIONS[name], (5, 4), "sum_of_abs"))
    printed = np.concatenate(initial_coefficients(name, (5, 4), "sum_of_abs")[:2])
    np.testing.assert_allclose(ours, printed, rtol=3e-4)


@pytest.mark.parametrize(
    ("name", "sum_of_abs", "abs_of_sum"),
    [
        ("relu", 0.0300, 0.0300),
        ("lrelu_0.01", 0.0298, 0.0659),
        ("lrelu_0.20", 0.0256, 0.2788),
        ("lrelu_0.25", 0.0242, 0.2693),
        ("lrelu_0.30", 0.0228, 0.2509),
        ("lrelu_-0.5", 0.0265, 1.0481),
    ],
)
def test_table_6_was_fitted_for_sum_of_abs(name, sum_of_abs, abs_of_sum):
    a, b, *_ = initial_coefficients(name, (5, 4), "sum_of_abs")
    assert largest_error(a, b, "sum_of_abs", name) == pytest.approx(sum_of_abs, abs=5e-5)
    assert largest_error(a, b, "abs_of_sum", name) == pytest.approx(abs_of_sum, abs=5e-5)


@pytest.mark.parametrize("form", ["abs_of_sum", "unsafe"])
def test_default_start_is_within_0_034_of_leaky_relu(form):
    a, b, *_ = initial_coefficients("lrelu_0.01", (5, 4), form)
    assert largest_error(a, b, form, "lrelu_0.01") < 0.034


@pytest.mark.parametrize("form", ["abs_of_sum", "unsafe"])
@pytest.mark.parametrize("name", LEAKY)
def test_fits_have_the_symmetry_of_their_function(name, form):
    # LReLU(s) = (1 + s)/2 x + (1 - s)/2 |x|, so all of them come from one even fit to |x|.
    slope = FUNCTIONS[name](torch.tensor(-1.0)).neg().item()
    a, b, *_ = initial_coefficients(name, (5, 4), form)
    relu_a, relu_b, *_ = initial_coefficients("relu", (5, 4), form)
    np.testing.assert_allclose(b, relu_b, rtol=1e-6)
    np.testing.assert_allclose(a[::2], np.multiply(1 - slope, relu_a[::2]), rtol=1e-6)
    np.testing.assert_allclose(a[1::2], np.multiply(1 + slope, relu_a[1::2]), rtol=1e-6)


@pytest.mark.parametrize("form", ["abs_of_sum", "unsafe"])
@pytest.mark.parametrize("name", LEAKY)
def test_outside_of_the_fitted_interval_our_starts_stay_below_the_identity(name, form):
    a, b, *_ = initial_coefficients(name, (5, 4), form)
    x = torch.logspace(np.log10(3), 5, 20_001, dtype=torch.float64)
    for side in (x, -x):
        assert (evaluate(a, b, form, side).abs() <= side.abs()).all()


@pytest.mark.parametrize("row", read_table(), ids=lambda r: f"{r['form']}-{r['function']}")
def test_errors_in_the_table_are_those_of_its_coefficients(row):
    a = [float(Fraction(row[f"a{j}"])) for j in range(6)]
    b = [float(Fraction(row[f"b{k}"])) for k in range(1, 5)]
    for column, bound in (("max_error", 3), ("max_error_10", 10)):
        error = largest_error(a, b, row["form"], row["function"], bound)
        assert float(row[column]) == pytest.approx(error, rel=1e-3)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", EXACT)
def test_exact_approximants_agree_with_the_taylor_series(name, form):
    # To the order x^9, so that a wrong digit anywhere shows. (Two are known from copies.)
    x = torch.linspace(-0.05, 0.05, 101, dtype=torch.float64)
    y = evaluate(*initial_coefficients(name, (5, 4), form)[:2], form, x)
    torch.testing.assert_close(y, FUNCTIONS[name](x), rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_unsafe_starts_have_no_poles(name):
    _, b, *_ = initial_coefficients(name, (5, 4), "unsafe")
    assert real_roots([1, *b]).size == 0


@pytest.mark.parametrize("name", FUNCTIONS)
def test_abs_of_sum_starts_change_sign_nowhere(name):
    _, b, *_ = initial_coefficients(name, (5, 4), "abs_of_sum")
    assert b[0] == 0  # so A(x) = x² (b2 + b3 x + b4 x²), and the bracket is positive:
    assert real_roots(b[1:]).size == 0
    assert b[1] > 0


@pytest.mark.parametrize("n", range(1, 8))
@pytest.mark.parametrize("name", ["relu", "swish", "lrelu_-0.5"])
def test_unsafe_fits_of_any_degree_have_no_poles(name, n):
    _, b = fit_function(FUNCTIONS[name], (n + 1, n), "unsafe")
    assert real_roots([1, *b]).size == 0


def real_roots(polynomial_coefficients) -> np.ndarray:
    roots = polynomial.polyroots(np.trim_zeros(np.asarray(polynomial_coefficients), "b"))
    return roots[np.abs(roots.imag) < 1e-7].real


@pytest.mark.parametrize("form", FORMS)
def test_fit_recovers_a_rational_function_from_its_values(form):
    a, b = np.array([0.3, -1.0, 0.5, 2.0]), np.array([0.0, 0.7])

    def function(x):
        return evaluate(a, b, form, x)

    found_a, found_b = fit_function(function, (3, 2), form)
    np.testing.assert_allclose(found_a, a, atol=1e-6)
    np.testing.assert_allclose(found_b, b, atol=1e-6)


def test_fit_is_the_same_every_time_and_leaves_random_generators_alone():
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first, second = (fit_function(torch.sin, (5, 4)) for _ in range(2))
    np.testing.assert_array_equal(np.concatenate(first), np.concatenate(second))
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002


def test_fit_follows_its_interval():
    a, b = fit_function(torch.tanh, (5, 4), interval=(0.0, 8.0))
    x = torch.linspace(0, 8, 801, dtype=torch.float64)
    torch.testing.assert_close(evaluate(a, b, "abs_of_sum", x), x.tanh(), rtol=0, atol=2e-3)


@pytest.mark.parametrize(
    "function", [torch.log, torch.sum, lambda x: x.unsqueeze(0), lambda x: x.numpy()]
)
def test_functions_without_one_finite_value_per_point_are_refused(function):
    with pytest.raises(ConfigurationError, match=r"finite values of the same shape on \[-3, 3\]"):
        initial_coefficients(function, (5, 4), "abs_of_sum")


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("fit_coefficients", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


@pytest.fixture(scope="module")
def found(script):
    return list(script.rows())


@pytest.fixture
def copy(script, tmp_path, monkeypatch):
    """A copy of the table, in its place for the script."""
    copy = tmp_path / "coefficients.csv"
    copy.write_bytes(script.FILE.read_bytes())
    monkeypatch.setattr(script, "FILE", copy)
    return copy


def test_the_script_finds_the_table_that_is_there_and_leaves_it(script, found, monkeypatch, capsys):
    monkeypatch.setattr(script, "rows", lambda: found)
    before = script.FILE.read_bytes(), script.FILE.stat().st_mtime_ns
    assert script.main([]) == 0
    assert "coefficients.csv holds the same" in capsys.readouterr().out
    assert (script.FILE.read_bytes(), script.FILE.stat().st_mtime_ns) == before


def test_the_script_writes_a_table_that_differs_only_when_asked(script, copy, monkeypatch, capsys):
    text = copy.read_text(encoding="utf-8")
    copy.write_text(text.replace("1/9", "1/8"), encoding="utf-8")
    monkeypatch.setattr(script, "rows", lambda: read_table())
    assert script.main([]) == 1
    assert "not in coefficients.csv: sum_of_abs,tanh,0,1,0,1/9," in capsys.readouterr().out
    assert copy.read_text(encoding="utf-8") != text
    assert script.main(["--write"]) == 0
    assert copy.read_text(encoding="utf-8") == text


@pytest.mark.parametrize(("change", "writes"), [(1e-7, False), (1e-5, True)])
def test_the_last_digits_of_another_machine_are_not_written(
    script, copy, monkeypatch, change, writes
):
    others = [
        r | {"b2": f"{float(r['b2']) * (1 + change):.9g}"} if r["origin"].startswith("least") else r
        for r in read_table()
    ]
    monkeypatch.setattr(script, "rows", lambda: others)
    before = copy.read_bytes()
    assert script.main([]) == writes
    assert copy.read_bytes() == before
    assert script.main(["--write"]) == 0
    assert (copy.read_bytes() != before) == writes


def test_new_fits_are_written_in_the_digits_on_which_all_machines_agree(
    script, found, copy, monkeypatch
):
    lines = copy.read_text(encoding="utf-8").splitlines(keepends=True)
    others = [line for line in lines if not line.startswith("abs_of_sum,lrelu_0.25,")]
    copy.write_text("".join(others), encoding="utf-8")
    monkeypatch.setattr(script, "rows", lambda: found)
    assert script.main(["--write"]) == 0
    (new,) = set(copy.read_text(encoding="utf-8").splitlines(keepends=True)) - set(others)
    (old,) = set(lines) - set(others)
    written, there = (line.split(",")[2:12] for line in (new, old))
    assert all(len(value.replace(".", "").lstrip("0")) <= 6 for value in written)
    np.testing.assert_allclose(np.double(written), np.double(there), rtol=5.01e-6)
    # Another machine, which rounds the last of them the other way, finds the same.
    up = [
        r | {"a0": f"{float(r['a0']) + 1e-7:.6g}"}
        if (r["form"], r["function"]) == ("abs_of_sum", "lrelu_0.25")
        else r
        for r in found
    ]
    assert up != found
    monkeypatch.setattr(script, "rows", lambda: up)
    assert script.main([]) == 0
