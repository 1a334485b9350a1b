"""Print how steep the activations of trained LeNets are on test images, and how they bend.

    python scripts/activation_slopes.py RUN … [--data DIR] [--images 100]

For each layer, over all inputs x of the activation: the mean and the largest |F'(x)|; the mean
width of the range of F on [x - 1/4, x + 1/4], and the mean distance between the two lines that
bound F there, in the middle; and the mean over outputs of Σ|weights| of the layer before it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import nn

from pade_bench import bounds
from pade_bench.bounds.catalog import has_relaxation
from pade_bench.certify import first_images
from pade_bench.training.reload import prepare_test_data, read_run, rebuild

HALF_WIDTH = 0.25  # of the intervals


def main() -> None:
    """Print a line for each activation of each run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--data")
    parser.add_argument("--images", type=int, default=100)
    options = parser.parse_args()
    for path in options.runs:
        run = read_run(path)
        network = rebuild(run).network
        assert isinstance(network, nn.Sequential)
        data = prepare_test_data(run, options.data)
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in data.normalization)
        x = (first_images(data, options.images)[0] - mean) / std
        print(path)
        for module in network:
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                weights = module.weight.detach().flatten(1).abs().sum(1).mean()
            elif has_relaxation(module):
                z = x.detach().requires_grad_()
                (slope,) = torch.autograd.grad(module(z).sum(), z)
                ends = x.double() - HALF_WIDTH, x.double() + HALF_WIDTH
                low, high = bounds.interval(module, *ends)
                (k1, c1), (k2, c2) = bounds.lines(module, *ends)
                between = (k2 - k1) * x + c2 - c1
                print(
                    f"  |F'| mean {slope.abs().mean():.2f}, largest {slope.abs().max():.2f}  "
                    f"range {(high - low).mean():.3f}  between lines {between.mean():.4f}  "
                    f"Σ|w| {weights:.2f}"
                )
            x = module(x).detach()


if __name__ == "__main__":
    main()
