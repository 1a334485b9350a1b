"""Try Padé units in other people's networks and with torch's tools; print how it went.

    python scripts/try_networks.py [NAME …] > table.md

Each network has random weights and small inputs; nothing is downloaded. Its activations are
replaced by Padé units with ``example_input``, so a row counts only if every unit ran in training
and in evaluation and no other activation did. Then a step is made: every coefficient gets a finite
gradient. That needs torchvision, timm, transformers, onnx, onnxscript and onnxruntime; rows of what
is not installed say so. docs/use_in_your_network.md holds the table.
"""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from try_tools import TOOLS

from pade_bench import PAU, convert_activations
from pade_bench.errors import ConfigurationError

# Images of as many pixels a side as the network needs, and what its builder is told.
TORCHVISION: dict[str, tuple[int, dict[str, Any]]] = {
    "alexnet": (64, {}),
    "convnext_tiny": (32, {}),
    "deeplabv3_mobilenet_v3_large": (64, {"weights_backbone": None}),
    "densenet121": (32, {}),
    "efficientnet_b0": (32, {}),
    "efficientnet_v2_s": (32, {}),
    "fcn_resnet50": (64, {"weights_backbone": None}),
    "googlenet": (64, {"init_weights": False, "aux_logits": False}),
    "inception_v3": (96, {"init_weights": False, "aux_logits": False}),
    "maxvit_t": (224, {}),
    "mnasnet0_5": (32, {}),
    "mobilenet_v2": (32, {}),
    "mobilenet_v3_small": (32, {}),
    "r2plus1d_18": (32, {}),
    "regnet_y_400mf": (32, {}),
    "resnet18": (32, {}),
    "resnet50": (32, {}),
    "resnext50_32x4d": (32, {}),
    "shufflenet_v2_x0_5": (32, {}),
    "squeezenet1_1": (64, {}),
    "swin_t": (32, {}),
    "swin_v2_t": (64, {}),
    "vgg11_bn": (32, {}),
    "vit_b_32": (224, {}),
    "wide_resnet50_2": (32, {}),
}
TIMM: dict[str, tuple[int, dict[str, Any]]] = {
    "beit_base_patch16_224": (32, {"img_size": 32, "depth": 2}),
    "coat_tiny": (224, {}),
    "convmixer_768_32": (32, {}),
    "convnext_atto": (32, {}),
    "cspresnet50": (32, {}),
    "deit_tiny_patch16_224": (32, {"img_size": 32}),
    "dla34": (32, {}),
    "edgenext_xx_small": (64, {}),
    "efficientformerv2_s0": (224, {}),
    "efficientnet_lite0": (32, {}),
    "eva02_tiny_patch14_224": (28, {"img_size": 28}),
    "fastvit_t8": (64, {}),
    "ghostnetv2_100": (64, {}),
    "gmlp_s16_224": (224, {}),
    "hrnet_w18_small": (64, {}),
    "levit_128s": (224, {}),
    "mambaout_femto": (64, {}),
    "mixer_s32_224": (224, {}),
    "mobilenetv3_small_050": (32, {}),
    "mobilenetv4_conv_small": (64, {}),
    "mobileone_s0": (32, {}),
    "mobilevit_xxs": (64, {}),
    "nf_resnet50": (32, {}),
    "poolformer_s12": (64, {}),
    "pvt_v2_b0": (64, {}),
    "regnetx_002": (32, {}),
    "repvgg_a0": (32, {}),
    "resmlp_12_224": (224, {}),
    "resnet10t": (32, {}),
    "resnetv2_50": (32, {}),
    "swin_tiny_patch4_window7_224": (224, {}),
    "tinynet_e": (32, {}),
    "vit_tiny_patch16_224": (32, {"img_size": 32}),
    "xception41": (64, {}),
    "xcit_nano_12_p16_224": (64, {}),
}


@dataclass
class Row:
    """What came of one attempt."""

    what: str
    result: str
    units: int | None = None  # new units, all of which ran

    def __str__(self) -> str:
        """Return it as a row of a table in Markdown."""
        units = "" if self.units is None else str(self.units)
        return f"| {self.what} | {units} | {self.result} |"


def attempt(what: str, make: Callable[[], tuple[nn.Module, Any]], **settings: Any) -> Row:
    """Convert a network, train a step, and return what came of it.

    Args:
        what: the row's name.
        make: returns the network and an input for it.
        settings: of the conversion.
    """
    try:
        model, example = make()
    except Exception as error:
        return Row(what, f"could not be built: {_line(error)}")
    try:
        done = convert_activations(model, "pau", example_input=example, **settings)
    except ConfigurationError as error:
        return Row(what, _refusal(error))
    return Row(what, _trained(model, example), len(done))


def _refusal(error: ConfigurationError) -> str:
    """Return the first place of a refusal's list, and how many more there are."""
    first, *places = str(error).split("\n  ")
    if not places:
        return f"refused, unchanged: {_line(error)}"
    what = "units that never run" if "never be trained" in first else "calls that are no modules"
    more = f" and {len(places) - 1} more" if len(places) > 1 else ""
    return f"refused, unchanged, for {what}: {_short(places[0])}{more}"


def _trained(model: nn.Module, example: Any) -> str:
    model.train()
    tensors = [y for y in _tensors(_call(model, example)) if y.requires_grad]
    sum((y.float().square().mean() for y in tensors), torch.zeros(())).backward()
    units = {name: m for name, m in model.named_modules() if isinstance(m, PAU)}
    still = [n for n, unit in units.items() if not _learns(unit)]
    return f"no gradient for {', '.join(still)}" if still else "works"


def _learns(unit: PAU) -> bool:
    return all(p.grad is not None and bool(p.grad.isfinite().all()) for p in unit.parameters())


def _call(model: nn.Module, example: Any) -> Any:
    return model(**example) if isinstance(example, dict) else model(example)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
    elif isinstance(value, (list, tuple)):
        for entry in value:
            yield from _tensors(entry)


def _line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return _short(" ".join(lines[:4]).partition(': File "')[0])


def _short(text: str, width: int = 180) -> str:
    text = re.sub(r"/\S*/(site-packages|pade_bench)/", "", text)  # folders of this machine
    return (text if len(text) <= width else f"{text[:width]} …").replace("|", "/")


def images(size: int, *more: int) -> Tensor:
    """Return two images, or two of ``more`` frames."""
    return torch.randn(2, 3, *more, size, size)


def torchvision_row(name: str) -> Row:
    """Try one of torchvision's networks."""

    def make() -> tuple[nn.Module, Any]:
        import torchvision

        size, settings = TORCHVISION[name]
        frames = (4,) if name == "r2plus1d_18" else ()
        model = torchvision.models.get_model(name, weights=None, **settings)
        return model, images(size, *frames)

    return attempt(name, make)


def timm_row(name: str) -> Row:
    """Try one of timm's networks."""

    def make() -> tuple[nn.Module, Any]:
        import timm

        size, settings = TIMM[name]
        return timm.create_model(name, **settings), images(size)

    return attempt(name, make)


def hugging_face_rows() -> Iterator[Row]:
    """Try Hugging Face's networks, converted and with units by the name of an activation."""
    small = {"num_hidden_layers": 2, "num_attention_heads": 2}

    def build(kind: str, **settings: Any) -> tuple[nn.Module, Any]:
        import transformers

        config = getattr(transformers, f"{kind}Config")(**settings)
        model = getattr(transformers, f"{kind}Model")(config)
        if "image_size" in settings:
            return model, {"pixel_values": images(settings["image_size"])}
        return model, {"input_ids": torch.arange(10).reshape(2, 5)}

    text = {"hidden_size": 32, "intermediate_size": 64, **small}
    gpt2 = {"n_embd": 32, "n_layer": 2, "n_head": 2}
    kinds: dict[str, tuple[str, dict[str, Any]]] = {
        "BERT": ("Bert", text),
        "ViT": ("ViT", {"image_size": 32, **text}),
        "GPT-2": ("GPT2", gpt2),
        "LLaMA": ("Llama", text),
        "ResNet": ("ResNet", {"image_size": 32}),
    }
    for name, (kind, settings) in kinds.items():
        yield attempt(name, functools.partial(build, kind, **settings))
    keys = {"BERT": "hidden_act", "ViT": "hidden_act", "GPT-2": "activation_function"}
    for name, key in keys.items():
        kind, settings = kinds[name]
        yield _by_name(name, functools.partial(build, kind, **settings, **{key: "pau"}))


def _by_name(name: str, make: Callable[[], tuple[nn.Module, Any]]) -> Row:
    what = f'{name}, `ACT2FN["pau"] = PAU`'
    try:
        from transformers.activations import ACT2FN

        ACT2FN["pau"] = PAU
        model, example = make()
    except Exception as error:
        return Row(what, f"could not be built: {_line(error)}")
    return Row(what, _trained(model, example), sum(isinstance(m, PAU) for m in model.modules()))


def tool_row(tool: Callable[[], str]) -> Row:
    """Try one of torch's tools."""
    what = (tool.__doc__ or "").rstrip(".")
    try:
        return Row(what, tool())
    except Exception as error:
        return Row(what, f"**does not work**: {_line(error)}")


def main(names: list[str]) -> None:
    """Print a table each of networks and tools, or the rows of those that are named."""
    warnings.filterwarnings("ignore")
    torch.manual_seed(0)
    print(_versions())
    _table("torchvision", (torchvision_row(n) for n in TORCHVISION if not names or n in names))
    _table("timm", (timm_row(n) for n in TIMM if not names or n in names))
    if not names or "hugging_face" in names:
        _table("Hugging Face", hugging_face_rows())
    _table("torch", (tool_row(t) for t in TOOLS if not names or t.__name__ in names))


def _table(title: str, rows: Iterator[Row]) -> None:
    found = []
    for row in rows:
        print(row, file=sys.stderr, flush=True)
        found.append(row)
    if found:
        print(f"\n| {title} | units | result |\n|---|---|---|", *found, sep="\n")


def _versions() -> str:
    packages = ("torch", "torchvision", "timm", "transformers", "onnxruntime")
    found = []
    for package in packages:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"no {package}")
    return f"Python {platform.python_version()}, {', '.join(found)}"


if __name__ == "__main__":
    main(sys.argv[1:])
