"""How the CPU kernel gets compiled and kept, and what happens where it cannot be."""

import subprocess
import sys
import warnings

import pytest
import torch

from pade_bench import functional, ops
from pade_bench.ops import Unit, cpu, dispatch, reference

X, A, B = torch.linspace(-2, 2, 50), torch.tensor([0.1, 0.9]), torch.tensor([0.5])


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """A process that has loaded nothing yet, with an empty cache."""

    def forget():
        cpu.kernels.cache_clear()
        cpu._fingerprint.cache_clear()

    monkeypatch.setenv("PADE_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(dispatch, "_unavailable", set())
    forget()
    yield tmp_path / "cache"
    forget()


@pytest.fixture
def cache(fresh):
    try:
        cpu.compiler()
    except cpu.CpuKernelError as error:
        pytest.skip(str(error))
    return fresh


def compiled(cache):
    (path,) = cache.iterdir()  # nothing else is left behind
    return path


def test_compiles_once_and_loads_thereafter(cache, monkeypatch):
    functional.pau(X, A, B)
    assert compiled(cache).suffix == ".so"
    cpu.kernels.cache_clear()
    monkeypatch.setattr(cpu, "_build", lambda *_: pytest.fail("compiled again"))
    torch.testing.assert_close(functional.pau(X, A, B), reference.formula(X, Unit(A, B)))


@pytest.mark.parametrize("damage", ["empty", "cut short", "overwritten", "removed"])
def test_damaged_file_is_compiled_again(cache, damage):
    functional.pau(X, A, B)
    path = compiled(cache)
    good = path.read_bytes()
    path.unlink()  # the loaded library keeps its own file
    if damage != "removed":
        cut = {"empty": 0, "cut short": len(good) // 2, "overwritten": len(good) // 3}[damage]
        path.write_bytes(
            good[:cut] + (b"?" * (len(good) - cut) if damage == "overwritten" else b"")
        )
    cpu.kernels.cache_clear()
    torch.testing.assert_close(functional.pau(X, A, B), reference.formula(X, Unit(A, B)))
    assert len(compiled(cache).read_bytes()) == len(good)


def test_other_flags_make_another_file(cache, monkeypatch):
    functional.pau(X, A, B)
    first = compiled(cache)
    cpu.kernels.cache_clear()
    cpu._fingerprint.cache_clear()
    monkeypatch.setattr(cpu, "FLAGS", [*cpu.FLAGS, "-O2"])
    functional.pau(X, A, B)
    (second,) = set(cache.iterdir()) - {first}
    assert second.name != first.name


@pytest.mark.slow
def test_two_processes_may_start_at_once(cache):
    code = (
        "import torch; from pade_bench import functional; "
        "print(functional.pau(torch.ones(1), torch.tensor([0.0, 3.0]), torch.ones(1)).item())"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in processes:
        output, errors = process.communicate(timeout=120)
        assert output == "1.5\n", errors
    compiled(cache)


def expect_reference(match):
    """Run twice: the reference's result, and one warning in all."""
    x, a, b = (t.clone().requires_grad_() for t in (X, A, B))
    with pytest.warns(RuntimeWarning, match=match) as caught:
        y = functional.pau(x, a, b)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y = functional.pau(x, a, b)
        gradients = torch.autograd.grad(y.sum(), (x, a, b))
    wanted = reference.formula(x, Unit(a, b))
    torch.testing.assert_close(y, wanted)
    torch.testing.assert_close(gradients, torch.autograd.grad(wanted.sum(), (x, a, b)))
    assert ops.backend("cpu") == "reference"


def test_without_a_compiler_the_reference_serves(fresh, monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "")
    expect_reference("no C.. compiler was found; install one .*apt install g")


def test_a_missing_cxx_is_named(fresh, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler --fast")
    expect_reference("CXX='no-such-compiler --fast' was not found")


def test_the_message_of_a_failing_compiler_is_shown(cache, monkeypatch):
    monkeypatch.setattr(cpu, "FLAGS", [*cpu.FLAGS, "-fno-such-flag"])
    expect_reference("-fno-such-flag")


def test_a_cache_that_cannot_be_written_is_named(cache, monkeypatch):
    cache.write_text("a file where the folder should be")
    expect_reference("cannot write compiled kernels to .*set PADE_BENCH_CACHE")


def test_backend_names_the_kernel(cache):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ops.backend("cpu") == "cpu"


def test_the_cache_lies_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("PADE_BENCH_CACHE", str(tmp_path))
    assert cpu.cache_folder() == tmp_path
    monkeypatch.delenv("PADE_BENCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cpu.cache_folder() == tmp_path / "pade_bench"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cpu.cache_folder() == tmp_path / ".cache" / "pade_bench"
