"""The Padé unit in plain torch: the specification that every kernel is tested against.

Molina, Schramowski, Kersting: *Padé Activation Units* (ICLR 2020), Eq. 1 and 2. With
numerator coefficients a = (a0 … am) and denominator coefficients b = (b1 … bn),

    F(x) = P(x) / Q(x),   P(x) = a0 + a1 x + … + am x^m,   A(x) = b1 x + … + bn x^n

and one of three denominators ("forms"):

    abs_of_sum   Q(x) = 1 + |A(x)|                       the paper's safe PAU, Eq. 2
    sum_of_abs   Q(x) = 1 + |b1 x| + … + |bn x^n|        the authors' own CUDA code
    unsafe       Q(x) = 1 + A(x)                         Eq. 1; has poles where Q(x) = 0

float16 and bfloat16 inputs are computed in float32 and rounded once, at the end.

A randomized unit (Eq. 3) has a noise state: each of its coefficients is drawn afresh for every
element i, c_ij ~ U((1 - noise) c_j, (1 + noise) c_j), and gradients reach c_j through c_ij.

``formula`` and ``gradients`` are differentiable. ``forward`` and ``backward`` are the same
mathematics without autograd, in chunks that fit a cache: what runs where no kernel can.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from pade_bench.ops.layout import in_layout_of, memory_order
from pade_bench.ops.noise import factors
from pade_bench.ops.unit import Unit, compute_dtype

# Elements of a chunk. On a CPU the thirty-odd intermediate results of one stay in the second-level
# cache; elsewhere a chunk only bounds the memory they take.
CPU_CHUNK, DEVICE_CHUNK = 1 << 13, 1 << 24


def horner(x: Tensor, coefficients: Sequence[Tensor]) -> Tensor:
    """Evaluate c0 + c1 x + … + ck x^k for ``coefficients`` = (c0 … ck).

    A coefficient is a number, or one number for every element of ``x``. So is the result where c0
    is all there is.
    """
    value = coefficients[-1]
    for c in reversed(coefficients[:-1]):
        value = value * x + c
    return value


def _quotient(z: Tensor, a: Sequence[Tensor], b: Sequence[Tensor], form: str) -> Tensor:
    """Return P(z) / Q(z)."""
    p = horner(z, a)
    if form == "abs_of_sum":
        q = 1 + (z * horner(z, b)).abs()
    elif form == "sum_of_abs":
        q = 1 + z.abs() * horner(z.abs(), [c.abs() for c in b])
    else:
        q = 1 + z * horner(z, b)
    return p / q


def _coefficients(
    x: Tensor, unit: Unit, elements: Tensor | None
) -> tuple[list[Tensor], list[Tensor], list[Tensor] | None]:
    """Return a0 … am and b1 … bn, each times its factors of the noise, and those factors."""
    dtype = compute_dtype(x.dtype)
    a, b = (list(c.to(dtype).unbind()) for c in (unit.numerator, unit.denominator))
    if unit.noise_state is None:
        return a, b, None
    if elements is None:
        elements = memory_order(x)
    f = factors(elements, unit.noise_state, unit.noise, len(a) + len(b), dtype)
    c = [c_j * f_j for c_j, f_j in zip(a + b, f, strict=True)]
    return c[: len(a)], c[len(a) :], f


def formula(x: Tensor, unit: Unit, elements: Tensor | None = None) -> Tensor:
    """Return F(x), of the shape and type of ``x``; differentiable any number of times.

    Args:
        x: input of any shape and floating type.
        unit: the coefficients, the form and the noise.
        elements: int64, shaped like ``x``: the numbers by which the elements draw their noise;
            by default their positions in memory.
    """
    a, b, _ = _coefficients(x, unit, elements)
    return _quotient(x.to(compute_dtype(x.dtype)), a, b, unit.form).to(x.dtype)


def _derivative(coefficients: Sequence[Tensor]) -> list[Tensor]:
    """Return c1, 2 c2, … k ck for ``coefficients`` = (c1 … ck), of a polynomial without c0."""
    return [(k + 1) * c for k, c in enumerate(coefficients)]


def _gradient_terms(
    g: Tensor, z: Tensor, a: Sequence[Tensor], b: Sequence[Tensor], form: str
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Return g dF/dx, and g dF/da_j and g dF/db_k for every element.

    The order of operations is that of ``kernels/pau_math.h``.
    """
    if form == "sum_of_abs":
        w, d = z.abs(), [c.abs() for c in b]
    else:
        w, d = z, list(b)
    s = w * horner(w, d)
    q = 1 + (s.abs() if form == "abs_of_sum" else s)

    dp = g / q  # the gradient of P
    dq = -dp * (horner(z, a) / q)  # that of Q, -g P / Q^2 without Q^2, which overflows early
    if form == "abs_of_sum":
        dq = dq * s.sgn()
    dw = dq * horner(w, _derivative(d))
    dx = dw * z.sgn() if form == "sum_of_abs" else dw
    if len(a) > 1:
        dx = dx + dp * horner(z, _derivative(a[1:]))

    da, db = [dp], []
    for _ in a[1:]:
        da.append(da[-1] * z)
    power = dq
    for c in b:
        power = power * w
        db.append(power * c.sgn() if form == "sum_of_abs" else power)
    return dx, da, db


def gradients(
    grad: Tensor, x: Tensor, unit: Unit, elements: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x, the numerator and the denominator by the explicit formulas.

    With s = sign(A), and sign(0) = 0 as autograd of the absolute value has it, for abs_of_sum:

        dF/dx   = P'(x)/Q - s A'(x) P/Q^2      dF/da_j = x^j / Q      dF/db_k = -s x^k P/Q^2

    for sum_of_abs:

        dF/dx   = P'(x)/Q - S P/Q^2,  S = sign(x) (|b1| + 2 |b2| |x| + … + n |bn| |x|^(n-1))
        dF/db_k = -sign(b_k) |x|^k P/Q^2

    With noise a term for c_j is that for c_ij times dc_ij/dc_j. The coefficients' gradients are
    summed over the elements in float64. Differentiable.

    Args:
        grad: gradient of F(x), of the shape of ``x``.
        x: input of any shape and floating type.
        unit: the coefficients, the form and the noise.
        elements: as for ``formula``.
    """
    dtype = compute_dtype(x.dtype)
    a, b, f = _coefficients(x, unit, elements)
    dx, da, db = _gradient_terms(grad.to(dtype), x.to(dtype), a, b, unit.form)
    if f is not None:
        c = [term * f_j for term, f_j in zip(da + db, f, strict=True)]
        da, db = c[: len(a)], c[len(a) :]
    sums = _sums(da).to(unit.numerator.dtype), _sums(db).to(unit.denominator.dtype)
    return dx.to(x.dtype), *sums


def _sums(terms: Sequence[Tensor]) -> Tensor:
    return torch.stack([term.sum(dtype=torch.float64) for term in terms])


def forward(x: Tensor, unit: Unit) -> Tensor:
    """Return F(x) as ``formula`` does, in chunks."""
    y = torch.empty_like(x)
    xs, ys = _in_memory_order(in_layout_of(y, x)), _in_memory_order(y)
    for part, elements in _chunks(x, unit):
        ys[part] = formula(xs[part], unit, elements)
    return y


def backward(grad: Tensor, x: Tensor, unit: Unit) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of ``forward``, in chunks."""
    dx = torch.empty_like(x)
    gs, xs = (_in_memory_order(in_layout_of(dx, t)) for t in (grad, x))
    dxs = _in_memory_order(dx)
    # Sums of chunks are added in float64, whatever the type of the coefficients.
    exact = unit._replace(numerator=unit.numerator.double(), denominator=unit.denominator.double())
    da, db = torch.zeros_like(exact.numerator), torch.zeros_like(exact.denominator)
    for part, elements in _chunks(x, unit):
        dxs[part], da_part, db_part = gradients(gs[part], xs[part], exact, elements)
        da += da_part
        db += db_part
    return dx, da.to(unit.numerator.dtype), db.to(unit.denominator.dtype)


def _chunks(x: Tensor, unit: Unit) -> Iterator[tuple[slice, Tensor | None]]:
    """Yield the chunks of a tensor, and the numbers of their elements where there is noise."""
    size = CPU_CHUNK if x.device.type == "cpu" else DEVICE_CHUNK
    for start in range(0, x.numel(), size):
        part = slice(start, min(start + size, x.numel()))
        if unit.noise_state is None:
            yield part, None
        else:
            yield part, torch.arange(part.start, part.stop, device=x.device)


def _in_memory_order(dense: Tensor) -> Tensor:
    return dense.as_strided((dense.numel(),), (1,))
