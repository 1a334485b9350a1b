"""Looking into a network: the function of each learnable activation and the inputs it meets."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from pade_bench.models.layers import channel_multiplier
from pade_bench.runs.curves import LayerCurve
from pade_bench.training.module import Classifier

GRID_POINTS = 401
HISTOGRAM_BINS = 60
NOISE_DRAWS = 400


def learnable_activations(network: nn.Module, activation_type: type) -> list[nn.Module]:
    """Return the activations that have parameters and act on each element by itself, in order."""
    return [
        module
        for module in network.modules()
        if type(module) is activation_type
        and channel_multiplier(module) == 1
        and any(True for _ in module.parameters())
    ]


@torch.no_grad()
def measure(classifier: Classifier, initial: nn.Module, images: Tensor) -> list[LayerCurve]:
    """Return the curve of every learnable activation, over the inputs that ``images`` give it.

    Args:
        classifier: the trained network.
        initial: a copy of its network as it was before training.
        images: (N, C, H, W), on any device.
    """
    now = learnable_activations(classifier.network, classifier.activation_type)
    before = learnable_activations(initial, classifier.activation_type)
    inputs: dict[nn.Module, Tensor] = {}
    hooks = [
        module.register_forward_pre_hook(
            lambda module, arguments: inputs.__setitem__(module, arguments[0].detach())
        )
        for module in now
    ]
    training = classifier.training
    classifier.eval()
    try:
        # A compiled network would be compiled again for the hooks.
        with torch.compiler.set_stance("force_eager"):
            classifier(images.to(classifier.device))
    finally:
        classifier.train(training)
        for hook in hooks:
            hook.remove()
    return [
        _curve(i + 1, module, start, inputs[module])
        for i, (module, start) in enumerate(zip(now, before, strict=True))
        if module in inputs
    ]


def _curve(number: int, module: nn.Module, start: nn.Module, inputs: Tensor) -> LayerCurve:
    values = inputs.float().flatten().cpu().numpy()
    finite = values[np.isfinite(values)]
    # A few extreme inputs would hide the part of the function that matters.
    low, high = np.percentile(finite, [0.5, 99.5]) if len(finite) else (0.0, 0.0)
    x = torch.linspace(min(low, -3.0), max(high, 3.0), GRID_POINTS)
    counts, edges = np.histogram(finite, HISTOGRAM_BINS, (float(x[0]), float(x[-1])))
    on_device = x.to(inputs.device)
    was_training = module.training
    module.eval()
    y = module(on_device).cpu().numpy()
    module.train(was_training)
    start = start.eval().to(inputs.device)
    band = _noise_band(module, on_device)
    return LayerCurve(
        name=f"{number}: {'×'.join(str(n) for n in inputs.shape[1:])}",
        x=x.numpy(),
        y=y,
        start=start(on_device).cpu().numpy(),
        edges=edges,
        density=counts / max(counts.sum(), 1) / np.diff(edges),
        low=band[0],
        high=band[1],
    )


def _noise_band(module: nn.Module, x: Tensor) -> np.ndarray:
    """Return (2, points): between them lie 95 % of the values that training draws at each point.

    The two are equal where the activation draws nothing.
    """
    was_training = module.training
    # Looking must not change what training draws next.
    with torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):
        module.train()
        # One dimension, as an activation may take the second for channels.
        y = module(x.repeat(2)).view(2, -1)
        if not torch.equal(y[0], y[1]):
            y = module(x.repeat(NOISE_DRAWS)).view(NOISE_DRAWS, -1)
    module.train(was_training)
    return np.quantile(y.float().cpu().numpy(), (0.025, 0.975), axis=0)
