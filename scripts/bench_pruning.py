"""Measure what a network costs without some of its filters, as a Markdown table.

    python scripts/bench_pruning.py [--model vgg8]

The network has Padé units, its initial weights and 32×32 images, as MNIST has here. The pruning
experiments' own code removes filters and times the network in turns with the unpruned one. A time
that is not known within 10 % is not shown.
"""

from __future__ import annotations

import argparse
import copy
import platform

import torch

from pade_bench import PAU, build_model
from pade_bench.models.filters import (
    count_parameters,
    filter_groups,
    remove_other_filters,
    strongest_filters,
)
from pade_bench.training.provenance import device_name
from pade_bench.training.pruned import costs

SHARES = range(0, 70, 10)  # percent of the filters
IMAGES = 64


def main() -> None:
    """Print a row for each share."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", default="vgg8", help="a network of the package")
    options = parser.parse_args()
    torch.manual_seed(0)
    network = build_model(options.model, PAU, in_channels=1, num_classes=10).eval()
    network = network.to(memory_format=torch.channels_last)
    images = torch.rand(IMAGES, 1, 32, 32).contiguous(memory_format=torch.channels_last)
    groups = filter_groups(network, PAU, images[:1])
    everything = {group.name: list(range(group.filters)) for group in groups}
    print("| filters pruned | parameters | multiply-adds of an image | time, ms | of unpruned |")
    print("|--:|--:|--:|--:|--:|")
    for share in SHARES:
        pruned = copy.deepcopy(network)
        kept = strongest_filters(network, groups, everything, share, "sum_of_abs")
        remove_other_filters(pruned, PAU, images[:1], kept)
        pruned = pruned.to(memory_format=torch.channels_last)
        found, parameters = costs(pruned, network, images, share), count_parameters(pruned)
        time = "– | –"
        if found.inference_share is not None and found.inference_error is not None:
            error = found.inference_share * found.inference_error
            time = f"{found.inference_milliseconds:.1f} | "
            time += f"{100 * found.inference_share:.0f} ± {100 * error:.0f} %"
        print(
            f"| {share} % | {parameters:,} ({parameters / found.unpruned.parameters:.0%}) | "
            f"{found.multiply_adds:,} ({found.multiply_adds / found.unpruned.multiply_adds:.0%}) | "
            f"{time} |",
            flush=True,
        )
    print(
        f"\n{options.model} with PAU, {IMAGES} images, {device_name(torch.device('cpu'))}, "
        f"{torch.get_num_threads()} threads, Python {platform.python_version()}, torch "
        f"{torch.__version__}; ±: half of a 95 % interval."
    )


if __name__ == "__main__":
    main()
