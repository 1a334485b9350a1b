"""Finding out before training whether a module can serve as an activation."""

from __future__ import annotations

import copy

import torch
from torch import nn

from pade_bench.errors import ConfigurationError


def check_activation(module: nn.Module) -> None:
    """Try ``module`` on small inputs, as a convolution and a linear layer would feed it.

    A copy on the CPU is tried, with the state of the random generator restored afterwards, so
    that ``module`` and the run's random numbers are as if this had not been called.

    Raises:
        ConfigurationError: for inputs of shape (2, 8k, 4, 4) and (2, 8k), with k its
            ``channel_multiplier``, the module raises an error, returns another shape than
            (2, 8, 4, 4) and (2, 8) or another type, or its output does not depend
            differentiably on its input.
    """
    name = type(module).__name__
    k = getattr(module, "channel_multiplier", 1)
    if type(k) is not int or k < 1:
        raise ConfigurationError(
            f"activation {name}: channel_multiplier={k!r} is not a positive whole number."
        )
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        trial = copy.deepcopy(module).cpu()
        for rest in ((4, 4), ()):
            _try(trial, name, (2, 8 * k, *rest), (2, 8, *rest))


def _try(module: nn.Module, name: str, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    x = torch.linspace(-2, 2, torch.Size(shape).numel()).reshape(shape).requires_grad_()
    try:
        y = module(x)
    except Exception as error:
        raise ConfigurationError(
            f"activation {name} fails on an input of shape {shape}: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(y, torch.Tensor):
        raise ConfigurationError(f"activation {name} returns a {type(y).__name__}, not a tensor.")
    if y.shape != expected or y.dtype != x.dtype:
        raise ConfigurationError(
            f"activation {name} maps {shape} to {tuple(y.shape)} of {y.dtype}; it must return "
            f"{expected} of {x.dtype}. One that takes k channels for each that it returns says so "
            "by an attribute channel_multiplier = k."
        )
    (gradient,) = torch.autograd.grad(y.sum(), x, allow_unused=True) if y.requires_grad else (None,)
    if gradient is None:
        raise ConfigurationError(
            f"activation {name} is not differentiable with respect to its input: nothing before it "
            "could be trained."
        )
