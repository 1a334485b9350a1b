"""How C++ gets compiled, kept and loaded, and what happens where it cannot be."""

import ctypes
import os
import shutil
import subprocess
import sys
import warnings

import pytest
import torch

from pade_bench import functional, ops
from pade_bench.ops import Unit, backends, build, cpu, node, reference

X, A, B = torch.linspace(-2, 2, 50), torch.tensor([0.1, 0.9]), torch.tensor([0.5])


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """A process that has loaded nothing yet, with an empty cache."""

    def forget():
        cpu.kernels.cache_clear()
        build._fingerprint.cache_clear()

    monkeypatch.setenv("PADE_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cpu, "FLAGS", [*cpu.FLAGS, "-O0"])  # compiles in half the time
    monkeypatch.setattr(backends, "_unavailable", set())
    monkeypatch.setattr(node, "direct", None)
    monkeypatch.setattr(node, "_is_loaded", lambda: False)
    forget()
    yield tmp_path / "cache"
    forget()


@pytest.fixture
def cache(fresh):
    try:
        build.compiler()
    except build.BuildError as error:
        pytest.skip(str(error))
    return fresh


def compiled(cache):
    (path,) = cache.iterdir()  # nothing else is left behind
    return path


def test_compiles_once_and_loads_thereafter(cache, monkeypatch):
    functional.pau(X, A, B)
    assert compiled(cache).suffix == ".so"
    cpu.kernels.cache_clear()
    monkeypatch.setattr(build, "_compile", lambda *_: pytest.fail("compiled again"))
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
    build._fingerprint.cache_clear()
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
    assert sorted(path.name[:7] for path in cache.iterdir()) == ["pau_1_1", "pau_nod"]


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


def test_an_unbalanced_cxx_is_named(fresh, monkeypatch):
    monkeypatch.setenv("CXX", "g++ '-O2")
    expect_reference("""CXX="g.. '-O2" is not a command: No closing quotation""")


def test_a_cache_that_cannot_be_written_is_named(cache, monkeypatch):
    cache.write_text("a file where the folder should be")
    expect_reference("cannot write compiled kernels: .*set PADE_BENCH_CACHE")


def test_a_system_that_refuses_to_load_is_asked_once_and_not_compiled_for_again(cache, monkeypatch):
    functional.pau(X, A, B)
    cpu.kernels.cache_clear()

    def refuse(path):
        raise OSError(f"{path}: failed to map segment from shared object")

    monkeypatch.setattr(build, "_compile", lambda *_: pytest.fail("compiled again"))
    monkeypatch.setattr(ctypes, "CDLL", refuse)
    expect_reference("failed to map segment from shared object.*noexec")


def test_a_kernel_under_the_name_of_another_form_is_not_loaded(cache):
    functional.pau(-X, A, B, "sum_of_abs")
    functional.pau(X, A, B, "unsafe")
    paths = {path.name.split("_1_1_")[1].split("_Float")[0]: path for path in cache.iterdir()}
    paths["sum_of_abs"].unlink()  # the loaded library keeps its own file
    shutil.copy(paths["unsafe"], paths["sum_of_abs"])
    cpu.kernels.cache_clear()
    y = functional.pau(-X, A, B, "sum_of_abs")
    torch.testing.assert_close(y, reference.formula(-X, Unit(A, B, "sum_of_abs")))


def test_a_library_without_its_functions_is_compiled_again(cache):
    functional.pau(X, A, B)
    path = compiled(cache)
    path.unlink()
    (cache / "empty.cpp").touch()
    subprocess.run([*build.compiler(), "-shared", "-o", path, cache / "empty.cpp"], check=True)
    (cache / "empty.cpp").unlink()
    content = path.read_bytes()
    path.write_bytes(content + build._digest(path, content))
    cpu.kernels.cache_clear()
    torch.testing.assert_close(functional.pau(X, A, B), reference.formula(X, Unit(A, B)))


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_folder_and_files_are_the_users_alone_whatever_the_umask(cache, umask):
    before = os.umask(umask)
    try:
        functional.pau(X, A, B)
    finally:
        os.umask(before)
    assert cache.stat().st_mode & 0o777 == 0o700
    assert compiled(cache).stat().st_mode & 0o777 == 0o700


def test_a_file_that_others_can_write_to_is_compiled_again(cache, monkeypatch):
    functional.pau(X, A, B)
    compiled(cache).chmod(0o777)
    cpu.kernels.cache_clear()
    functional.pau(X, A, B)
    assert compiled(cache).stat().st_mode & 0o777 == 0o700


def test_a_folder_that_others_can_write_to_is_refused(cache):
    cache.mkdir()
    cache.chmod(0o777)
    expect_reference("others than you can write to .*set PADE_BENCH_CACHE")
    assert not list(cache.iterdir())


def test_a_folder_of_another_user_is_refused(cache, monkeypatch):
    cache.mkdir(mode=0o700)
    if os.getuid() == 0:
        os.chown(cache, 12345, -1)
    else:
        monkeypatch.setattr(build, "_user", lambda: 12345)
    expect_reference("others than you can write to .*set PADE_BENCH_CACHE")


def test_backend_names_the_kernel(cache):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ops.backend("cpu") == "cpu"


@pytest.fixture
def no_settings(monkeypatch, tmp_path):
    """An environment that names no cache, with a temporary directory of its own."""
    for name in ("PADE_BENCH_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(build.tempfile, "gettempdir", lambda: str(tmp_path / "tmp"))
    return tmp_path


def test_the_cache_lies_where_the_environment_says(no_settings, monkeypatch):
    home, caches, named = (no_settings / name for name in ("home", "caches", "named"))
    monkeypatch.setenv("HOME", str(home))
    assert build.cache_folder() == home / ".cache" / "pade_bench"
    monkeypatch.setenv("XDG_CACHE_HOME", str(caches))
    assert build.cache_folder() == caches / "pade_bench"
    monkeypatch.setenv("PADE_BENCH_CACHE", str(named))
    assert build.cache_folder() == named
    monkeypatch.setenv("PADE_BENCH_CACHE", "~/mine")
    assert build.cache_folder() == home / "mine"
    made = (home / ".cache/pade_bench", caches / "pade_bench", named, home / "mine")
    assert {folder.stat().st_mode & 0o777 for folder in made} == {0o700}


@pytest.mark.parametrize("reason", ["unknown user", "a file", "named for an unknown user"])
def test_without_a_home_the_cache_is_a_private_folder_of_the_temporary_directory(
    no_settings, monkeypatch, reason
):
    if reason == "a file":  # or a directory that cannot be written, but root can
        (no_settings / "home").touch()
        monkeypatch.setenv("HOME", str(no_settings / "home"))
    else:  # as for a container's user without an entry in passwd
        monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    if reason == "named for an unknown user":
        monkeypatch.setenv("PADE_BENCH_CACHE", "~nobody-of-that-name/cache")
    folder = build.cache_folder()
    assert folder == no_settings / "tmp" / f"pade_bench-{os.getuid()}"
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_link_in_the_temporary_directory_is_not_followed(fresh, no_settings, monkeypatch):
    (no_settings / "elsewhere").mkdir(mode=0o700)
    (no_settings / "tmp").mkdir()
    folder = no_settings / "tmp" / f"pade_bench-{os.getuid()}"
    folder.symlink_to(no_settings / "elsewhere")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    expect_reference("is not a folder; set PADE_BENCH_CACHE")
    assert not list((no_settings / "elsewhere").iterdir())
