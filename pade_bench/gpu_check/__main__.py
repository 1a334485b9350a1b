"""The one check for whoever has a GPU: ``python -m pade_bench.gpu_check``.

Parts: whether the CUDA kernels are right, in every type, form, size and layout; the time of a call
and of each pass beside ReLU, PReLU and a copy; a training step of each network with and without
CUDA graph, to the same bits; compiled steps. With ``--data DIR``, which holds MNIST, epochs of the
command line as well. Prints progress, and then a report in Markdown, which is also written beside
the figures as JSON. A part that fails stops no other.

Exit status: 0 if every check holds, 1 if one does not or a part failed, 2 without a GPU, since then
nothing was checked. A target that is missed is no failure; the tables say so.
"""

from __future__ import annotations

import argparse
import functools
import json
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pade_bench import __version__
from pade_bench.gpu_check import commands, kernels, networks, units
from pade_bench.gpu_check.outcome import Part, markdown, plain, run
from pade_bench.models.numerics import repeat_to_the_bit

LIMIT = 260.0  # seconds after which no part begins, so that all end within six minutes


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts, tell what they found, and return the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.learning and options.data is None:
        parser.error("--learning trains on MNIST: say with --data where it lies")
    if not torch.cuda.is_available():
        print("gpu_check: torch finds no CUDA device, so nothing was checked.")
        return 2
    device = torch.device("cuda", torch.cuda.current_device())
    repeat_to_the_bit()  # as runs do
    limited = not (options.full or options.learning)
    outcomes = run(parts(device, options), _say, LIMIT if limited else None)
    found = machine(device)
    report = markdown(f"pade_bench on {found['device']}", found, outcomes)
    print(report)
    for path, text in (
        (options.out.with_suffix(".md"), report),
        (options.out.with_suffix(".json"), json.dumps(plain(found, outcomes), indent=1) + "\n"),
    ):
        path.write_text(text, encoding="utf-8")
        _say(f"written: {path}")
    return 0 if all(outcome.sound for outcome in outcomes.values()) else 1


def parts(device: torch.device, options: argparse.Namespace) -> dict[str, Part]:
    """Return the parts that were asked for, by title, the most important first."""
    on = functools.partial
    data = () if options.data is None else (f"data.root={options.data}", "trainer.accelerator=cuda")
    found: dict[str, Part] = {
        "Agreement with the reference in float64": on(kernels.agreement, device=device),
        "Repetition": on(kernels.repetition, device=device),
        "Layouts": on(kernels.layouts, device=device),
        "Streams": on(kernels.stream_order, device=device),
        "CUDA graphs of the unit": on(kernels.graph_capture, device=device),
        "More than 2^31 elements": on(kernels.huge, device=device),
        "Wall time of a call, forward and backward": on(units.calls, device=device),
        "Device time of a pass": on(units.passes, device=device),
        "A training step": on(networks.steps, device=device),
    }
    if data:
        found["An epoch of the command line"] = on(commands.epochs, settings=data)
    found["A compiled training step"] = on(networks.compiled_steps, device=device)
    if options.full:
        found |= {
            "A training step, more sizes": on(
                networks.steps, device=device, settings=networks.MORE_NETWORKS
            ),
            "Every network compiled": on(
                networks.compiled_steps, device=device, settings=networks.NETWORKS[2:]
            ),
        }
    if options.learning:
        found["How many seeds learn"] = on(commands.learning, settings=data)
    return found


def machine(device: torch.device) -> dict[str, Any]:
    """Return what the figures were measured with."""
    found: dict[str, Any] = {"device": "CPU"}
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        found = {"device": torch.cuda.get_device_name(device), "architecture": f"sm_{major}{minor}"}
    found |= {"pade_bench": __version__, "torch": torch.__version__}
    try:
        import cupy

        found["CuPy"] = cupy.__version__
    except ImportError:
        found["CuPy"] = "missing"
    return found | {"Python": platform.python_version()}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pade_bench.gpu_check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", metavar="DIR", type=Path, help="MNIST, for whole epochs")
    parser.add_argument("--full", action="store_true", help="more sizes, every network compiled")
    parser.add_argument(
        "--learning",
        action="store_true",
        help="how many of five seeds of VGG-8 learn in two epochs, with TF32 and without",
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        type=Path,
        default=Path("gpu_check.json"),
        help="where the report goes, as FILE.md and FILE.json",
    )
    return parser


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
