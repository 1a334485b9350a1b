"""Learnable activations other than Padé units; each has one set of parameters per layer.

The papers let every neuron or channel learn its own function. Here a layer shares one, as with
PAU, and as one draw would then decide the start of a whole layer, initial values are not random:
where a paper or its code draws them, the middle of its distribution is taken. Constructing an
activation therefore leaves the random generator, and with it a network's weights, untouched.

Parameters are used as scalars, so the type of the input decides that of the output.

``device`` and ``dtype`` are those of the parameters, as for torch's own modules, and
``reset_parameters()`` sets the initial values again.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pade_bench.errors import ConfigurationError

Device = torch.device | str | None


class APL(nn.Module):
    """Adaptive piecewise linear unit.

    Agostinelli, Hoffman, Sadowski, Baldi: *Learning Activation Functions to Improve Deep Neural
    Networks* (ICLR workshop 2015):

        f(x) = max(0, x) + Σ_s a_s max(0, b_s - x),   s = 1 … S

    For CIFAR-10 the authors take S = 5 and draw a_s uniformly from [-1/2, 1/2] and b_s from a
    normal distribution of mean 0 and standard deviation 1/2 [authors' code]. Here the b_s start at
    the middles of S equally likely parts of that distribution and the a_s at their mean 0
    [assumed]: the unit starts as ReLU, so in the first step the offsets get no gradient. With S = 5
    it has as many parameters as PAU.

    Args:
        hinges: the number S of hinges.
        device: of the parameters.
        dtype: of the parameters.

    Shape:
        any; the output has the input's shape and type.

    Raises:
        ConfigurationError: ``hinges`` is not a positive whole number.
    """

    def __init__(
        self, hinges: int = 5, *, device: Device = None, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        _check_count("hinges", hinges)
        self.hinges = hinges
        self.slopes = nn.Parameter(torch.empty(hinges, device=device, dtype=dtype))
        self.offsets = nn.Parameter(torch.empty(hinges, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the initial values."""
        probabilities = (torch.arange(self.hinges, device=self.offsets.device) + 0.5) / self.hinges
        with torch.no_grad():
            self.slopes.zero_()
            self.offsets.copy_(0.5 * torch.special.ndtri(probabilities))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the unit to every element of ``x``."""
        y = x.relu()
        for s in range(self.hinges):
            y = y + self.slopes[s] * (self.offsets[s] - x).relu()
        return y

    def extra_repr(self) -> str:
        """Describe the unit in a network's printout."""
        return f"hinges={self.hinges}"


class SReLU(nn.Module):
    """S-shaped rectified linear unit.

    Jin, Xu, Feng, Wei, Xiong, Yan: *Deep Learning with S-shaped Rectified Linear Activation Units*
    (AAAI 2016):

        f(x) = t_r + a_r (x - t_r)   for x ≥ t_r
               x                     for t_l < x < t_r
               t_l + a_l (x - t_l)   for x ≤ t_l

    It starts as a Leaky ReLU, as in the paper's "freezing" phase: t_l = 0, a_r = 1 [paper]. The
    slope a_l = 0.2 and the threshold t_r = 1 are [assumed]; the paper takes t_r from the inputs of
    each layer after some epochs.

    Args:
        device: of the parameters.
        dtype: of the parameters.

    Shape:
        any; the output has the input's shape and type.
    """

    def __init__(self, *, device: Device = None, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.left_threshold = nn.Parameter(torch.empty((), device=device, dtype=dtype))
        self.left_slope = nn.Parameter(torch.empty((), device=device, dtype=dtype))
        self.right_threshold = nn.Parameter(torch.empty((), device=device, dtype=dtype))
        self.right_slope = nn.Parameter(torch.empty((), device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the initial values."""
        with torch.no_grad():
            self.left_threshold.fill_(0.0)
            self.left_slope.fill_(0.2)
            self.right_threshold.fill_(1.0)
            self.right_slope.fill_(1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the unit to every element of ``x``."""
        left = self.left_threshold + self.left_slope * (x - self.left_threshold)
        right = self.right_threshold + self.right_slope * (x - self.right_threshold)
        y = torch.where(x <= self.left_threshold, left, x)
        return torch.where(x >= self.right_threshold, right, y)


class SLAF(nn.Module):
    """Self-learnable activation function: a Taylor polynomial.

    Goyal, Goyal, Lall: *Learning Activation Functions: A New Paradigm for Understanding Neural
    Networks* (2019):

        f(x) = Σ_k c_k x^k / k!,   k = 0 … K

    For MNIST the authors take K = 4 after convolutions and draw c_0 = 0.1, c_1 ~ N(1, 1) and the
    others from N(0, 1) [authors' code]; here the c_k start at these means [assumed], as identity
    plus 0.1. Most of the authors' variants also normalize the powers over the batch. The plain
    polynomial is used here [assumed]: it agrees with the undefined values that the paper on Padé
    units reports.

    Args:
        degree: the degree K.
        device: of the parameters.
        dtype: of the parameters.

    Shape:
        any; the output has the input's shape and type.

    Raises:
        ConfigurationError: ``degree`` is not a positive whole number.
    """

    def __init__(
        self, degree: int = 4, *, device: Device = None, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        _check_count("degree", degree)
        self.degree = degree
        self.coefficients = nn.Parameter(torch.empty(degree + 1, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the initial values."""
        with torch.no_grad():
            self.coefficients.zero_()
            self.coefficients[0] = 0.1
            self.coefficients[1] = 1.0

    def forward(self, x: Tensor) -> Tensor:
        """Apply the unit to every element of ``x``."""
        y = self.coefficients[self.degree]
        for k in range(self.degree, 0, -1):
            y = y * (x / k) + self.coefficients[k - 1]
        return y

    def extra_repr(self) -> str:
        """Describe the unit in a network's printout."""
        return f"degree={self.degree}"


class Mixture(nn.Module):
    """Learnable mixture of identity and ReLU.

    Manessi, Rozza: *Learning Combinations of Activation Functions* (ICPR 2018), over the functions
    {identity, ReLU} that the paper on Padé units names:

        f(x) = w x + (1 - w) max(0, x),   0 < w < 1

    Of that paper's two variants this is the convex one: weights that are positive and sum to 1. The
    affine one, with weights of any sign that sum to 1, is here exactly PReLU, which stands in the
    comparison already. The constraint holds by w = sigmoid(logit); the equal weights at the start
    are [assumed].

    Args:
        device: of the parameters.
        dtype: of the parameters.

    Shape:
        any; the output has the input's shape and type.
    """

    def __init__(self, *, device: Device = None, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.logit = nn.Parameter(torch.empty((), device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the initial value."""
        nn.init.zeros_(self.logit)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the unit to every element of ``x``."""
        # The two terms on either side of 0: one use of w, which a compiler computes in place.
        return torch.where(x > 0, x, self.logit.sigmoid() * x)


def _check_count(name: str, value: object) -> None:
    if type(value) is not int or value < 1:
        raise ConfigurationError(f"{name}={value!r} is not a positive whole number.")
