"""C++ sources of ``kernels/``, compiled at first use by the machine's compiler and kept in a cache.

The cache is ``$PADE_BENCH_CACHE``, or else ``$XDG_CACHE_HOME/pade_bench``, or else
``~/.cache/pade_bench``, or else, where no home directory can be written to, a folder of the
temporary directory. A library's file is named after all that it depends on. The folder can be
deleted at any time.

What is loaded runs as the user, so only files that nobody else can write are. Each ends in a digest
of its name and content, which the system's loader ignores: mapping a file that was cut short would
end the process, and one under another's name would compute something else.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from importlib.resources import as_file, files
from pathlib import Path

COMPILERS = ("g++", "clang++", "c++")
_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH
_DIGEST = hashlib.sha256().digest_size


class BuildError(RuntimeError):
    """A library cannot be compiled, kept or loaded here; the message is the reason."""


def cache_folder() -> Path:
    """Return where compiled libraries are kept: a folder that only the user can write to.

    One that is missing is made; one that cannot be made is left to whoever writes to it.
    """
    if named := _expanded(os.environ.get("PADE_BENCH_CACHE", "")):
        with contextlib.suppress(OSError):
            _make(named)
        return named
    if caches := _expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache"):
        folder = caches / "pade_bench"
        with contextlib.suppress(OSError):
            _make(folder)
            folder.chmod(0o700)  # made by an older version
            if os.access(folder, os.W_OK):
                return folder
    folder = Path(tempfile.gettempdir()) / f"pade_bench-{_user()}"
    _make(folder)
    return folder


def private_cache_folder(name: str = "") -> Path:
    """Return the cache folder, or one of this name in it, made if it is missing.

    Raises:
        OSError: it cannot be made.
        BuildError: others than the user can write to it.
    """
    folder = cache_folder()
    _require_private(folder)
    if name:
        folder /= name
        _make(folder)
        folder.chmod(0o700)  # made by an older version
    return folder


def _make(folder: Path) -> None:
    """Make a folder of mode 0700 if there is none."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(parents=True, mode=0o700)
        folder.chmod(0o700)  # whatever the umask


def _user() -> int:
    return os.getuid() if hasattr(os, "getuid") else 0


def _expanded(path: str) -> Path | None:
    """Return a path without its ~; ``None`` if it is empty, or nobody knows that home directory."""
    path = os.path.expanduser(path)
    return None if not path or path.startswith("~") else Path(path)


def compiler() -> list[str]:
    """Return the command of the C++ compiler: ``$CXX`` if set, else the first found.

    Raises:
        BuildError: there is none, or ``$CXX`` cannot be read.
    """
    value = os.environ.get("CXX", "")
    try:
        named = shlex.split(value)
    except ValueError as error:
        raise BuildError(f"CXX={value!r} is not a command: {error}") from error
    if named:
        if shutil.which(named[0]):
            return named
        raise BuildError(f"the C++ compiler CXX={value!r} was not found")
    for name in COMPILERS:
        if path := shutil.which(name):
            return [path]
    raise BuildError(
        "no C++ compiler was found; install one (Debian and Ubuntu: apt install g++; conda: conda "
        "install cxx-compiler) or name it in CXX"
    )


def load_library(
    name: str, sources: Sequence[str], flags: Sequence[str], symbols: Sequence[str]
) -> ctypes.CDLL:
    """Return a library compiled from ``kernels/``, from the cache or else compiled now.

    Args:
        name: what the library is; its file adds a hash of what it is compiled from and by.
        sources: the file to compile, then those that it includes.
        flags: for the compiler.
        symbols: functions that it must have.

    Raises:
        BuildError: no compiler, a compiler's error, a cache that cannot be written or is not the
            user's own, or a system that refuses to load the library.
    """
    command = compiler()
    name += f"_{_fingerprint(tuple(command), tuple(sources), tuple(flags))}.so"
    try:
        path = private_cache_folder() / name
        library = _load(path, symbols)
        if library is None:
            with _alone_in(path.parent):  # the others wait for the first
                library = _load(path, symbols)
                if library is None:
                    _compile(command, sources[0], flags, path)
                    library = _load(path, symbols)
    except OSError as error:
        raise BuildError(
            f"cannot write compiled kernels: {error}; set PADE_BENCH_CACHE to a folder that can be "
            "written"
        ) from error
    if library is None:
        raise BuildError(f"{path} is not what was just compiled: it lacks one of {symbols}")
    return library


@functools.cache
def _fingerprint(command: tuple[str, ...], sources: tuple[str, ...], flags: tuple[str, ...]) -> str:
    """Return a hash of the sources, the compiler, its flags and the processor."""
    folder = files("pade_bench.kernels")
    parts = [(folder / source).read_text(encoding="utf-8") for source in sources]
    parts += [*command, _run([*command, "--version"]), *flags, platform.machine(), _processor()]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _processor() -> str:
    """Return what ``-march=native`` depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    # Every core says the same; its clock, which changes by the second, is left out.
    wanted = ("vendor_id", "cpu family", "model", "stepping", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in lines if line.startswith(wanted)}))


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except OSError as error:
        raise BuildError(f"cannot run {command[0]}: {error}") from error
    except subprocess.CalledProcessError as error:
        raise BuildError(
            f"{shlex.join(command)} failed:\n{error.stderr.strip()[-2000:]}"
        ) from error
    return done.stdout


def _require_private(folder: Path) -> None:
    # In the temporary directory a link of this name can be anybody's.
    is_temporary = folder.parent == Path(tempfile.gettempdir())
    found = folder.lstat() if is_temporary else folder.stat()
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(f"{folder} is not a folder")
    if not _is_trusted(found):
        raise BuildError(
            f"others than you can write to {folder}, and what is kept there is trusted; take that "
            "right from them, or set PADE_BENCH_CACHE to another folder"
        )


def _is_trusted(found: os.stat_result) -> bool:
    """Whether only the user, or root, can have written what was found."""
    if not hasattr(os, "getuid"):
        return True
    return found.st_uid in (_user(), 0) and not found.st_mode & _OTHERS_MAY_WRITE


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Let one process at a time compile, where the file system can lock a folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _digest(path: Path, content: bytes) -> bytes:
    return hashlib.sha256(path.name.encode() + b"\0" + content).digest()


def _load(path: Path, symbols: Sequence[str]) -> ctypes.CDLL | None:
    """Load the library at ``path``; ``None`` if it is missing, damaged or somebody else's.

    Raises:
        BuildError: it is what was compiled, and the system does not load it.
    """
    try:
        with path.open("rb") as file:
            found, content = os.fstat(file.fileno()), file.read()
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode) or not _is_trusted(found):
        return None
    if content[-_DIGEST:] != _digest(path, content[:-_DIGEST]):
        return None
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise BuildError(
            f"the system does not load compiled kernels: {error}. If the reason is a folder from "
            "which nothing may be run (noexec), set PADE_BENCH_CACHE to another one"
        ) from error
    return library if all(hasattr(library, symbol) for symbol in symbols) else None


def _compile(command: list[str], source: str, flags: Sequence[str], path: Path) -> None:
    """Compile to ``path``: written aside and moved, so that no process sees half a file."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="building-") as aside:
        built = Path(aside) / path.name
        with as_file(files("pade_bench.kernels")) as folder:
            _run([*command, str(Path(folder) / source), *flags, "-o", str(built)])
        content = built.read_bytes()
        with built.open("ab") as file:
            file.write(_digest(path, content))
        built.chmod(0o700)
        os.replace(built, path)
