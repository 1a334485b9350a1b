"""Training steps of the networks: launched one by one, as one CUDA graph, and compiled."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import clip_grad_norm_

from pade_bench.gpu_check.clock import busy_milliseconds, wall_milliseconds
from pade_bench.gpu_check.outcome import Outcome
from pade_bench.models import build_model
from pade_bench.models.numerics import compiled
from pade_bench.ops.graph import Capture, CudaCapture, Replayed, Snapshot

BIT_STEPS = 3  # replayed and called, and then compared


class Setting(NamedTuple):
    """A network, and a batch of images of 32 × 32 pixels; for one channel Adam, else SGD."""

    model: str
    channels: int
    images: int
    reduced: bool = True  # in bfloat16 too


NETWORKS = (
    Setting("lenet", 1, 256),
    Setting("vgg8", 1, 256),
    Setting("vgg8", 3, 64),
    Setting("mobilenetv2", 3, 64),
    Setting("resnet101", 3, 64),
    Setting("densenet121", 3, 64, reduced=False),
)
MORE_NETWORKS = (
    Setting("vgg8", 3, 256),
    Setting("mobilenetv2", 3, 256),
    Setting("densenet121", 3, 64),
)
COMPILED = (Setting("lenet", 1, 256), Setting("vgg8", 1, 256), Setting("bottleneck", 3, 64))
MOST_OF_BUSY = {"lenet": 1.25}  # a step against the sum of its kernel times; 1.15 for others


class Step:
    """One training step on the same batch: forward, backward, clipping, optimizer."""

    def __init__(
        self,
        setting: Setting,
        activation: str,
        dtype: torch.dtype,
        device: torch.device,
        compile_network: bool = False,
    ) -> None:
        torch.manual_seed(0)
        network = _network(setting, activation).to(device).to(memory_format=torch.channels_last)
        self.network, self.dtype, self.device = network, dtype, device
        self.compute = compiled(network) if compile_network else network
        images = torch.randn(setting.images, setting.channels, 32, 32, device=device)
        self.images = images.contiguous(memory_format=torch.channels_last)
        self.labels = torch.randint(10, (setting.images,), device=device)
        self.clips = setting.channels == 1
        on_gpu = device.type == "cuda"  # where runs have the same
        self.optimizer: torch.optim.Optimizer
        if self.clips:
            self.optimizer = torch.optim.Adam(
                network.parameters(), 2e-3, capturable=on_gpu, fused=on_gpu
            )
        else:
            self.optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9, fused=on_gpu)

    def __call__(self) -> None:
        self.work(self.images, self.labels)

    def work(self, images: Tensor, labels: Tensor) -> None:
        """Make a step with (B, C, 32, 32) images and (B,) labels."""
        self.optimizer.zero_grad()
        enabled = self.dtype != torch.float32
        with torch.autocast(self.device.type, self.dtype, enabled=enabled, cache_enabled=False):
            loss = F.cross_entropy(self.compute(images), labels)
        loss.backward()
        if self.clips:
            clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimizer.step()

    def changed(self) -> Iterator[Tensor]:
        """Yield what a step changes."""
        yield from self.network.parameters()
        yield from self.network.buffers()
        for state in self.optimizer.state.values():
            yield from (value for value in state.values() if isinstance(value, Tensor))


def _network(setting: Setting, activation: str) -> nn.Module:
    if setting.model != "bottleneck":
        return build_model(setting.model, activation, in_channels=setting.channels)
    resnet = build_model("resnet101", activation, in_channels=setting.channels)
    blocks = [m for m in resnet.modules() if type(m).__name__ == "Bottleneck"]
    block = blocks[1]  # the first has a shortcut of its own
    width = next(m for m in block.modules() if isinstance(m, nn.Conv2d)).in_channels
    entry = nn.Conv2d(setting.channels, width, 1)
    return nn.Sequential(entry, block, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))


def steps(
    out: Outcome,
    device: torch.device,
    settings: Iterable[Setting] = NETWORKS,
    capture: Callable[[torch.device], Capture] = CudaCapture,
    rounds: int = 3,
) -> None:
    """Time a step with and without graph, and compare what both leave to the bit."""
    for setting in settings:
        for dtype in (torch.float32, torch.bfloat16)[: 1 + setting.reduced]:
            relu = None
            for activation in ("relu", "pau"):
                row = _step(out, setting, activation, dtype, device, capture, rounds)
                relu = relu or row
                for how in ("eager", "graph"):
                    if row[f"{how} ms"] and relu[f"{how} ms"]:
                        row[f"{how} / ReLU's"] = row[f"{how} ms"] / relu[f"{how} ms"]
                if activation == "pau" and (ratio := row.get("graph / ReLU's")):
                    row |= {"target": "≤ 1.05 × ReLU", "met": ratio <= 1.05}
                out.table.append(row)


def _step(
    out: Outcome,
    setting: Setting,
    activation: str,
    dtype: torch.dtype,
    device: torch.device,
    capture: Callable[[torch.device], Capture],
    rounds: int,
    compile_network: bool = False,
) -> dict:
    step = Step(setting, activation, dtype, device, compile_network)
    name = f"{setting.model}, {setting.channels} channel(s), {activation}, {str(dtype)[6:]}"
    replayed = Replayed(step.work, name, step.changed, capture(device))

    def replay() -> None:
        replayed(step.images, step.labels)

    replay()  # the first is called
    before = Snapshot(step.changed())
    for _ in range(BIT_STEPS):
        step()
    after = Snapshot(before.tensors)
    before.restore()
    for _ in range(BIT_STEPS):
        replay()
    same = after.holds()
    captured = replayed.graph is not None
    out.check(f"{name}: a step is one CUDA graph", replayed.reason or "", captured)
    out.check(f"{name}: {BIT_STEPS} steps leave the bits that those without leave", "", same)
    eager = wall_milliseconds(step, device, 10, rounds)
    graph = wall_milliseconds(replay, device, 10, rounds) if captured else None
    busy = busy_milliseconds(step, device)
    limit = MOST_OF_BUSY.get(setting.model, 1.15)
    over = graph / busy if graph and busy else None
    return {
        "network": setting.model,
        "channels": setting.channels,
        "images": setting.images,
        "type": str(dtype)[6:],
        "activation": activation,
        "eager ms": eager,
        "graph ms": graph,
        "busy ms": busy,
        "graph / busy": over,
        "limit": limit,
        "within": None if over is None else over <= limit,
    }


def compiled_steps(
    out: Outcome,
    device: torch.device,
    settings: Iterable[Setting] = COMPILED,
    capture: Callable[[torch.device], Capture] = CudaCapture,
    rounds: int = 3,
) -> None:
    """Time compiled steps with and without graph."""
    for setting in settings:
        relu = None
        for activation in ("relu", "pau"):
            row = _step(
                out,
                setting,
                activation,
                torch.float32,
                device,
                capture,
                rounds,
                compile_network=True,
            )
            relu = relu or row
            row["eager / ReLU's"] = ratio = row["eager ms"] / relu["eager ms"]
            if activation == "pau":
                row |= {"target": "≤ 1.05 × ReLU", "met": ratio <= 1.05}
            out.table.append(row)
