"""The check as a whole: its parts, what it says, and where it can run."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from pade_bench.gpu_check import __main__ as check
from pade_bench.gpu_check.outcome import markdown, plain, run

ROOT = Path(__file__).parents[2]
FRAMEWORK = ("hydra", "omegaconf", "pytorch_lightning", "tensorboard", "yaml", "matplotlib")


def parts():
    def holds(out):
        out.check("sound", "1e-7", True)
        out.table.append({"size": 1_000, "ms": 0.123456, "met": True, "ratio": None})

    def fails(out):
        out.check("found before", "", True)
        raise RuntimeError("CUDA out of memory.\nTried to allocate 8 GiB")

    def does_not_hold(out):
        out.check("bits", "differ", False)

    return {"one": holds, "two": fails, "three": does_not_hold}


def test_a_part_that_fails_keeps_what_it_found_and_stops_no_other():
    said = []
    outcomes = run(parts(), said.append)
    assert [outcome.sound for outcome in outcomes.values()] == [True, False, False]
    assert outcomes["two"].checks[0].name == "found before"
    assert "RuntimeError: CUDA out of memory." in outcomes["two"].error
    assert [line for line in said if "/3 " in line][2].endswith("3/3 three …")
    assert any("failed: RuntimeError" in line for line in said)
    assert any("does not hold: bits differ" in line for line in said)


def test_ctrl_c_ends_the_check_with_what_has_been_found():
    def is_interrupted(out):
        out.check("found before", "", True)
        raise KeyboardInterrupt

    outcomes = run({"one": is_interrupted} | {"two": parts()["one"]}, lambda line: None)
    assert list(outcomes) == ["one"]
    assert outcomes["one"].error == "interrupted"
    assert outcomes["one"].checks[0].name == "found before"
    assert not outcomes["one"].sound


def test_no_part_begins_after_the_limit():
    began = []
    outcomes = run(
        {"slow": lambda out: time.sleep(0.1), "late": lambda out: began.append(1)},
        print,
        limit=0.05,
    )
    assert not began
    assert outcomes["slow"].sound
    assert outcomes["late"].error.startswith("not begun")


def test_the_report_tells_checks_figures_and_errors():
    outcomes = run(parts(), lambda line: None)
    text = markdown("pade_bench on X", {"device": "X", "torch": "2.14"}, outcomes)
    assert text.startswith("# pade_bench on X\n\ndevice X, torch 2.14\n")
    assert "| sound | 1e-7 | yes |" in text
    assert "| bits | differ | **NO** |" in text
    assert "| size | ms | met | ratio |" in text
    assert "| 1,000 | 0.1235 | yes | – |" in text
    assert "**Ended early**: RuntimeError: CUDA out of memory. Tried to allocate 8 GiB" in text
    content = json.loads(json.dumps(plain({"device": "X"}, outcomes)))
    assert content["parts"]["one"]["table"][0]["ms"] == 0.123456
    assert content["parts"]["three"]["checks"] == [
        {"name": "bits", "detail": "differ", "holds": False}
    ]


def test_without_a_gpu_it_says_so_and_does_not_pass(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert check.main([]) == 2
    assert "nothing was checked" in capsys.readouterr().out


def test_learning_needs_data(capsys):
    with pytest.raises(SystemExit):
        check.main(["--learning"])
    assert "say with --data where it lies" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "more"),
    [
        ([], set()),
        (["--data", "d"], {"An epoch of the command line"}),
        (["--full"], {"A training step, more sizes", "Every network compiled"}),
        (["--data", "d", "--learning"], {"An epoch of the command line", "How many seeds learn"}),
    ],
)
def test_options_add_parts(arguments, more):
    device = torch.device("cpu")
    usual = check.parts(device, check._parser().parse_args([]))
    found = check.parts(device, check._parser().parse_args(arguments))
    assert set(found) == set(usual) | more
    assert len(usual) == 10


def test_the_report_is_written_and_decides_the_exit_status(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(check, "machine", lambda device: {"device": "X"})
    monkeypatch.setattr(check, "parts", lambda device, options: {"sound": lambda out: None})
    out = tmp_path / "found.json"
    assert check.main(["--out", str(out)]) == 0
    assert json.loads(out.read_text())["machine"] == {"device": "X"}
    assert out.with_suffix(".md").read_text() in capsys.readouterr().out
    monkeypatch.setattr(check, "parts", lambda device, options: parts())
    assert check.main(["--out", str(out)]) == 1


def test_it_runs_where_torch_is_installed_and_the_framework_is_not():
    code = f"""
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {FRAMEWORK}:
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, Block())
import torch
from pade_bench.gpu_check import __main__ as check, networks, units
from pade_bench.gpu_check.outcome import Outcome
out = Outcome()
networks.Step(networks.Setting("lenet", 1, 2), "pau", torch.float32, torch.device("cpu"))()
sys.exit(check.main([]) if not torch.cuda.is_available() else 2)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr


def test_the_script_is_the_module():
    script = [sys.executable, ROOT / "scripts" / "gpu_check.py", "--help"]
    done = subprocess.run(script, capture_output=True, text=True, check=True)
    assert "--learning" in done.stdout


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_every_check_holds_on_this_gpu(tmp_path, capsys):
    assert check.main(["--out", str(tmp_path / "found.json")]) == 0, capsys.readouterr().out
