"""The GPU check: as far as it goes without a GPU, on the emulator."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest
import torch
from emulator import EmulatedCuda

from pade_bench.ops import cuda

SCRIPT = Path(__file__).parents[2] / "scripts" / "gpu_check.py"


@pytest.fixture
def gpu_check():
    spec = importlib.util.spec_from_file_location("gpu_check", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_without_a_gpu_it_says_so_and_does_not_pass(gpu_check, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_check.main() == 2
    assert "nothing was checked" in capsys.readouterr().out


@pytest.mark.skipif(not shutil.which("g++"), reason="the emulator needs g++")
def test_checks_hold_on_the_emulator_and_fail_for_a_faulty_kernel(gpu_check, monkeypatch):
    monkeypatch.setattr(gpu_check, "FORMS", gpu_check.FORMS[:1])
    monkeypatch.setattr(gpu_check, "LIMITS", {torch.float32: gpu_check.LIMITS[torch.float32]})

    def agreement_and_repetition(**options):
        emulated = EmulatedCuda(**options)
        monkeypatch.setattr(cuda, "runtime", lambda: emulated)
        rows = [*gpu_check.agreement(1003, "cpu"), *gpu_check.repetition(1003, "cpu")]
        return [ok for *_, ok in rows]

    assert agreement_and_repetition() == [True, True, True]
    wrong_sign = agreement_and_repetition(
        mutate=lambda code: code.replace("T t = -(dp *", "T t = (dp *")
    )
    assert wrong_sign == [False, False, True]  # repeated, a wrong result is the same


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_every_check_holds_on_this_gpu(gpu_check, capsys):
    assert gpu_check.main() == 0, capsys.readouterr().out
