"""A small part of the table in docs/use_in_your_network.md, and the example there."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "use_in_your_network.md"


@pytest.fixture
def script(monkeypatch):
    pytest.importorskip("torchvision")
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return importlib.import_module("try_networks")


@pytest.mark.parametrize(
    ("name", "result", "units"),
    [
        ("mobilenet_v3_small", "works |", 33),
        ("densenet121", "refused, unchanged, for calls that are no modules:", ""),
    ],
)
def test_torchvisions_networks_are_as_the_page_says(script, name, result, units):
    begin = f"| {name} | {units} | {result}"  # a refusal goes on with a line of torchvision's
    assert str(script.torchvision_row(name)).startswith(begin)
    assert begin in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "units"), [("vit_tiny_patch16_224", 12), ("resnet10t", 11)])
def test_timms_networks_are_as_the_page_says(script, name, units):
    pytest.importorskip("timm")
    row = script.timm_row(name)
    assert (row.result, row.units) == ("works", units)
    assert str(row) in PAGE.read_text(encoding="utf-8")


def test_hugging_faces_networks_are_as_the_page_says(script):
    pytest.importorskip("transformers")
    rows = {row.what: row for row in script.hugging_face_rows()}
    for name in ("BERT", "ViT", "GPT-2"):
        for what in (name, f'{name}, `ACT2FN["pau"] = PAU`'):
            assert (rows[what].result, rows[what].units) == ("works", 2)


@pytest.mark.parametrize(
    "name",
    ["traced", "fsdp2", "tensor_parallel", "ema", "functional_calls", "jacobians", "checkpointed",
     "autocast", "nested", "fused_transformer", "saved", "meta", "jit_traced",
     "second_derivatives"],
)  # fmt: skip
def test_torchs_tools_work_as_the_page_says(script, name):
    (tool,) = (tool for tool in script.TOOLS if tool.__name__ == name)
    row = script.tool_row(tool)
    assert row.result.startswith("works"), row
    assert str(row) in PAGE.read_text(encoding="utf-8")


def test_the_fine_tuning_example_runs_and_starts_where_the_network_was(capsys):
    pytest.importorskip("torchvision")
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (example,) = (c for c in code if "AdamW" in c)
    assert len(example.splitlines()) <= 18
    exec(compile(example, str(PAGE), "exec"), {"__name__": "example"})
    assert "verified" in capsys.readouterr().out
