"""Print how steep the activations of trained LeNets are on test images.

    python scripts/activation_slopes.py RUN … [--data DIR] [--images 100]

For each layer: the mean and the largest |F'(x)| over all inputs of the activation, and the mean
over outputs of Σ|weights| of the layer before it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import nn

from pade_bench.bounds.catalog import has_relaxation
from pade_bench.certify import first_images
from pade_bench.training.fit import make_data
from pade_bench.training.reload import read_run, rebuild


def main() -> None:
    """Print a line for each activation of each run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--data")
    parser.add_argument("--images", type=int, default=100)
    options = parser.parse_args()
    for path in options.runs:
        run = read_run(path)
        if options.data:
            run.config.data.arguments["root"] = options.data
        network = rebuild(run).network
        assert isinstance(network, nn.Sequential)
        data = make_data(run)
        data.prepare_data()
        data.setup("validate")
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in data.normalization)
        x = (first_images(data, options.images)[0] - mean) / std
        print(path)
        for module in network:
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                weights = module.weight.detach().flatten(1).abs().sum(1).mean()
            elif has_relaxation(module):
                z = x.detach().requires_grad_()
                (slope,) = torch.autograd.grad(module(z).sum(), z)
                slope = slope.abs()
                print(f"  mean {slope.mean():.2f}  largest {slope.max():.2f}  Σ|w| {weights:.2f}")
            x = module(x).detach()


if __name__ == "__main__":
    main()
