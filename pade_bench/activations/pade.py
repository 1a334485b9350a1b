"""The Padé activation unit and its randomized variant as modules."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.fx
from torch import Tensor, nn

from pade_bench import ops
from pade_bench.activations.coefficients import initial_coefficients
from pade_bench.activations.inputs import Inputs
from pade_bench.activations.matching import Function
from pade_bench.errors import ConfigurationError, one_of
from pade_bench.functional import pau, rpau
from pade_bench.ops import FORMS, MAX_DEGREE, Unit


class PAU(nn.Module):
    """Padé activation unit: a learnable rational function of its input, one per layer.

    Molina, Schramowski, Kersting: *Padé Activation Units* (ICLR 2020), Eq. 1 and 2:

        F(x) = (a0 + a1 x + … + am x^m) / Q(x)
        Q(x) = 1 + |b1 x + … + bn x^n|         "abs_of_sum", the paper's safe PAU
        Q(x) = 1 + |b1 x| + … + |bn x^n|       "sum_of_abs", the authors' own CUDA code
        Q(x) = 1 + b1 x + … + bn x^n           "unsafe": training can move poles into the data

    Args:
        degrees: m and n, each from 1 to 10; the paper's are 5 and 4.
        init: the function to start from: one of the paper's (``coefficients.FUNCTIONS``:
            ``"lrelu_0.01"``, ``"relu"``, ``"swish"``, ``"tanh"`` …), fitted on [-3, 3] as there;
            any other activation in ``configs/activation`` (``"gelu"``); or any function from
            tensor to tensor (``torch.nn.functional.silu``). The latter two are fitted for all
            inputs, tails included, see ``activations.matching``.
        form: the form of Q.
        inplace: accepted and ignored, so that a unit can stand wherever a network passes
            ``inplace=True`` to its activations: the backward pass needs the input unchanged.
        device: of the parameters, as for torch's own modules.
        dtype: of the parameters, as for torch's own modules.

    Shape:
        any; the output has the input's shape and type.

    Attributes:
        numerator: parameter (m + 1,), the coefficients a0 … am.
        denominator: parameter (n,), the coefficients b1 … bn.
        start: what these are at first, and the largest distance from ``init`` on a range.

    Raises:
        ConfigurationError: ``degrees``, ``init`` or ``form`` is none of the above.
    """

    def __init__(
        self,
        degrees: Sequence[int] = (5, 4),
        init: str | Function = "lrelu_0.01",
        *,
        form: str = "abs_of_sum",
        inplace: bool | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if form not in FORMS:
            raise ConfigurationError(one_of("form", form, FORMS))
        self.form = form
        m, n = _pair_of_degrees(degrees)
        self.numerator, self.denominator = (
            nn.Parameter(torch.empty(size, device=device, dtype=dtype)) for size in (m + 1, n)
        )
        self.start_from(init)

    @property
    def degrees(self) -> tuple[int, int]:
        """The degrees m and n of numerator and denominator."""
        return len(self.numerator) - 1, len(self.denominator)

    def start_from(self, init: str | Function, inputs: Inputs | None = None) -> None:
        """Start from another function, as a new unit with that ``init`` would.

        Args:
            init: see above.
            inputs: the values that the unit will meet, or an example, to be fitted for these.

        Raises:
            ConfigurationError: ``init`` cannot be started from.
        """
        # Numbers, not the function: a unit that starts from a lambda can be pickled.
        self.start = initial_coefficients(init, self.degrees, self.form, inputs)
        self.init = init if isinstance(init, str) else getattr(init, "__name__", repr(init))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Set the coefficients to those of ``init`` again."""
        for c, start in zip((self.numerator, self.denominator), self.start[:2], strict=True):
            # The device is named because torch.device("meta") may be in force.
            c.copy_(torch.tensor(start, dtype=c.dtype, device=c.device))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the unit to every element of ``x``."""
        if isinstance(x, torch.fx.Proxy):
            if path := x.tracer.path_of_module(self):
                # In a traced network it stays the module that it is, as torch's own activations do.
                return x.tracer.create_proxy("call_module", path, (x,), {})
            return pau(x, self.numerator, self.denominator, self.form)
        return ops.apply(x, Unit(self.numerator, self.denominator, self.form))

    def extra_repr(self) -> str:
        """Describe the unit in a network's printout."""
        return f"degrees={self.degrees}, init={self.init}, form={self.form}"


class RPAU(PAU):
    """Randomized Padé unit: while training, every element sees coefficients with noise.

    Eq. 3 of the paper: c_ij ~ U((1 - noise) c_j, (1 + noise) c_j), drawn afresh for every element
    i; gradients reach c_j through c_ij. In evaluation mode it is exactly ``PAU``.

    Args:
        degrees: as for ``PAU``.
        init: as for ``PAU``.
        form: as for ``PAU``.
        noise: half the width of the relative noise, in [0, 1). 0.01 is [assumed]: the paper's
            values are lost.
        inplace: as for ``PAU``.
        device: as for ``PAU``.
        dtype: as for ``PAU``.

    Raises:
        ConfigurationError: an argument is none of the above.
    """

    def __init__(
        self,
        degrees: Sequence[int] = (5, 4),
        init: str | Function = "lrelu_0.01",
        *,
        form: str = "abs_of_sum",
        noise: float = 0.01,
        inplace: bool | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(degrees, init, form=form, inplace=inplace, device=device, dtype=dtype)
        if not (isinstance(noise, (int, float)) and 0 <= noise < 1):
            raise ConfigurationError(f"noise={noise!r} is not a number in [0, 1).")
        self.noise = float(noise)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the unit to every element of ``x``."""
        training = self.training
        if isinstance(x, torch.fx.Proxy) and not x.tracer.path_of_module(self):
            # Traced by itself: the mode at run time counts.
            training = x.tracer.create_proxy("get_attr", "training", (), {})
        elif not training or isinstance(x, torch.fx.Proxy):
            return super().forward(x)
        return rpau(x, self.numerator, self.denominator, self.form, self.noise, training)

    def extra_repr(self) -> str:
        """Describe the unit in a network's printout."""
        return f"{super().extra_repr()}, noise={self.noise:g}"


def _pair_of_degrees(degrees: Sequence[int]) -> tuple[int, int]:
    # Duck-typed, as Hydra hands over its own list type.
    pair = tuple(degrees) if hasattr(degrees, "__iter__") else ()
    if len(pair) == 2 and all(type(d) is int and 1 <= d <= MAX_DEGREE for d in pair):
        return pair
    raise ConfigurationError(
        f"degrees={degrees!r} must be two whole numbers from 1 to {MAX_DEGREE}: the degrees of "
        "numerator and denominator, such as (5, 4)."
    )
