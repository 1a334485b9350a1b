"""The Padé unit in plain torch: the specification that every kernel is tested against.

Molina, Schramowski, Kersting: *Padé Activation Units* (ICLR 2020), Eq. 1 and 2. With
numerator coefficients a = (a0 … am) and denominator coefficients b = (b1 … bn),

    F(x) = P(x) / Q(x),   P(x) = a0 + a1 x + … + am x^m,   A(x) = b1 x + … + bn x^n

and one of three denominators ("forms"):

    abs_of_sum   Q(x) = 1 + |A(x)|                       the paper's safe PAU, Eq. 2
    sum_of_abs   Q(x) = 1 + |b1 x| + … + |bn x^n|        the authors' own CUDA code
    unsafe       Q(x) = 1 + A(x)                         Eq. 1; has poles where Q(x) = 0

float16 and bfloat16 inputs are computed in float32 and rounded once, at the end.

``pau`` and ``rpau`` are differentiable formulas. ``forward`` and ``backward`` are the same
mathematics without autograd, in chunks that fit a cache: what runs where no kernel can.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from pade_bench.ops.layout import in_layout_of, memory_order
from pade_bench.ops.noise import factors

FORMS = ("abs_of_sum", "sum_of_abs", "unsafe")

# Elements of a chunk. On a CPU the thirty-odd intermediate results of one stay in the second-level
# cache; elsewhere a chunk only bounds the memory they take.
CPU_CHUNK, DEVICE_CHUNK = 1 << 13, 1 << 24


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the type in which an input of type ``dtype`` is evaluated."""
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


def horner(x: Tensor, coefficients: Sequence[Tensor]) -> Tensor:
    """Evaluate c0 + c1 x + … + ck x^k for ``coefficients`` = (c0 … ck).

    A coefficient is a number, or one number for every element of ``x``.
    """
    value = coefficients[-1].expand_as(x)
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


def pau(x: Tensor, numerator: Tensor, denominator: Tensor, form: str = "abs_of_sum") -> Tensor:
    """Evaluate the Padé unit; differentiable by autograd, any number of times.

    Args:
        x: input of any shape and floating type.
        numerator: (m + 1,) coefficients a0 … am.
        denominator: (n,) coefficients b1 … bn.
        form: one of ``FORMS``.

    Returns:
        F(x), of the shape and type of ``x``.
    """
    dtype = compute_dtype(x.dtype)
    a, b = numerator.to(dtype).unbind(), denominator.to(dtype).unbind()
    return _quotient(x.to(dtype), a, b, form).to(x.dtype)


def rpau(
    x: Tensor,
    numerator: Tensor,
    denominator: Tensor,
    form: str,
    noise_state: Tensor,
    alpha: float,
    elements: Tensor | None = None,
) -> Tensor:
    """Evaluate the randomised unit of Eq. 3, whose coefficients are drawn afresh for each element.

    Args:
        x: input of any shape and floating type.
        numerator: (m + 1,) coefficients a0 … am.
        denominator: (n,) coefficients b1 … bn.
        form: one of ``FORMS``.
        noise_state: (2,) int64 seed and offset, see ``pade_bench.ops.noise``.
        alpha: in [0, 1]; c_ij ~ U((1 - alpha) c_j, (1 + alpha) c_j).
        elements: int64, shaped like ``x``: the numbers by which the elements draw their noise;
            by default their positions in memory.
    """
    dtype = compute_dtype(x.dtype)
    if elements is None:
        elements = memory_order(x)
    f = factors(elements, noise_state, alpha, len(numerator) + len(denominator), dtype)
    a = [c * f_c for c, f_c in zip(numerator.to(dtype), f, strict=False)]
    b = [c * f_c for c, f_c in zip(denominator.to(dtype), f[len(numerator) :], strict=True)]
    return _quotient(x.to(dtype), a, b, form).to(x.dtype)


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


def pau_backward(
    grad: Tensor, x: Tensor, numerator: Tensor, denominator: Tensor, form: str = "abs_of_sum"
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x, the numerator and the denominator by the explicit formulas.

    With s = sign(A), and sign(0) = 0 as autograd of the absolute value has it, for abs_of_sum:

        dF/dx   = P'(x)/Q - s A'(x) P/Q^2      dF/da_j = x^j / Q      dF/db_k = -s x^k P/Q^2

    for sum_of_abs:

        dF/dx   = P'(x)/Q - S P/Q^2,  S = sign(x) (|b1| + 2 |b2| |x| + … + n |bn| |x|^(n-1))
        dF/db_k = -sign(b_k) |x|^k P/Q^2

    The coefficients' gradients are summed over the elements in float64. Differentiable.

    Args:
        grad: gradient of F(x), of the shape of ``x``.
        x: input of any shape and floating type.
        numerator: (m + 1,) coefficients a0 … am.
        denominator: (n,) coefficients b1 … bn.
        form: one of ``FORMS``.
    """
    dtype = compute_dtype(x.dtype)
    a, b = numerator.to(dtype).unbind(), denominator.to(dtype).unbind()
    dx, da, db = _gradient_terms(grad.to(dtype), x.to(dtype), a, b, form)
    return dx.to(x.dtype), _sums(da).to(numerator.dtype), _sums(db).to(denominator.dtype)


def rpau_backward(
    grad: Tensor,
    x: Tensor,
    numerator: Tensor,
    denominator: Tensor,
    form: str,
    noise_state: Tensor,
    alpha: float,
    elements: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of ``rpau``; a term for c_j is that for c_ij times dc_ij/dc_j."""
    dtype = compute_dtype(x.dtype)
    if elements is None:
        elements = memory_order(x)
    f = factors(elements, noise_state, alpha, len(numerator) + len(denominator), dtype)
    f_a, f_b = f[: len(numerator)], f[len(numerator) :]
    a = [c * f_c for c, f_c in zip(numerator.to(dtype), f_a, strict=True)]
    b = [c * f_c for c, f_c in zip(denominator.to(dtype), f_b, strict=True)]
    dx, da, db = _gradient_terms(grad.to(dtype), x.to(dtype), a, b, form)
    da = [term * f_c for term, f_c in zip(da, f_a, strict=True)]
    db = [term * f_c for term, f_c in zip(db, f_b, strict=True)]
    return dx.to(x.dtype), _sums(da).to(numerator.dtype), _sums(db).to(denominator.dtype)


def _sums(terms: Sequence[Tensor]) -> Tensor:
    return torch.stack([term.sum(dtype=torch.float64) for term in terms])


def _chunks(x: Tensor) -> Iterator[slice]:
    size = CPU_CHUNK if x.device.type == "cpu" else DEVICE_CHUNK
    for start in range(0, x.numel(), size):
        yield slice(start, min(start + size, x.numel()))


def forward(
    x: Tensor,
    numerator: Tensor,
    denominator: Tensor,
    form: str,
    noise_state: Tensor | None = None,
    alpha: float = 0.0,
) -> Tensor:
    """Return F(x) as ``pau`` does, or as ``rpau`` where ``noise_state`` is given, in chunks."""
    y = torch.empty_like(x)
    xs, ys = _in_memory_order(in_layout_of(y, x)), _in_memory_order(y)
    for part in _chunks(x):
        if noise_state is None:
            ys[part] = pau(xs[part], numerator, denominator, form)
        else:
            elements = torch.arange(part.start, part.stop, device=x.device)
            ys[part] = rpau(xs[part], numerator, denominator, form, noise_state, alpha, elements)
    return y


def backward(
    grad: Tensor,
    x: Tensor,
    numerator: Tensor,
    denominator: Tensor,
    form: str,
    noise_state: Tensor | None = None,
    alpha: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of ``forward``, in chunks."""
    dx = torch.empty_like(x)
    gs, xs = (_in_memory_order(in_layout_of(dx, t)) for t in (grad, x))
    dxs = _in_memory_order(dx)
    # Sums of chunks are added in float64, whatever the type of the coefficients.
    a, b = numerator.double(), denominator.double()
    da, db = torch.zeros_like(a), torch.zeros_like(b)
    for part in _chunks(x):
        if noise_state is None:
            dxs[part], da_part, db_part = pau_backward(gs[part], xs[part], a, b, form)
        else:
            elements = torch.arange(part.start, part.stop, device=x.device)
            dxs[part], da_part, db_part = rpau_backward(
                gs[part], xs[part], a, b, form, noise_state, alpha, elements
            )
        da += da_part
        db += db_part
    return dx, da.to(numerator.dtype), db.to(denominator.dtype)


def _in_memory_order(dense: Tensor) -> Tensor:
    return dense.as_strided((dense.numel(),), (1,))
