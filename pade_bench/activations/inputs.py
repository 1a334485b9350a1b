"""Counting the values that reach an activation."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_PER_OCTAVE = 16  # bins are 4.4 % wide
_OCTAVES = 40  # magnitudes from 2^-40 to 2^40; what is smaller counts as 0, what is larger as that
_SIDE = 2 * _OCTAVES * _PER_OCTAVE  # bins for each sign


class Inputs:
    """A histogram of the values that reach an activation, in bins of equal relative width.

    Args:
        exact: whether others will be distributed as these; if not, only their size counts.

    Attributes:
        low: the smallest value, infinity before there is any.
        high: the largest.
    """

    def __init__(self, exact: bool = True) -> None:
        self.exact = exact
        self._counts = np.zeros(2 * _SIDE + 1)
        self.low, self.high = math.inf, -math.inf

    @torch.no_grad()
    def add(self, x: Tensor) -> None:
        """Count the elements of ``x``, of any shape; NaN and infinities are left out.

        A nested tensor's are those of its parts. On the meta device there are none.
        """
        if x.is_meta:
            return
        x = x.values() if x.is_nested else x
        x = x[x.isfinite()].float()
        if not x.numel():
            return
        place = (x.abs().log2() * _PER_OCTAVE).floor() + _SIDE / 2  # -inf for 0
        place = place.clamp(-1, _SIDE - 1).long() + 1
        counts = torch.bincount(place * x.sign().long() + _SIDE, minlength=2 * _SIDE + 1)
        self._counts += counts.cpu().numpy()
        self.low, self.high = min(self.low, float(x.min())), max(self.high, float(x.max()))

    def distribution(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the middles of the bins that hold values, and what share of them each holds."""
        above = 2 ** ((np.arange(_SIDE) + 0.5) / _PER_OCTAVE - _OCTAVES)
        middles = np.concatenate([-above[::-1], [0.0], above])
        held = self._counts > 0
        return middles[held], self._counts[held] / self._counts.sum()

    def size(self) -> float:
        """Return the root mean square of the values, 0 if there are none."""
        values, shares = self.distribution()
        return math.sqrt(shares @ values**2)
