"""Finding, verifying and downloading the published files of a data set."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import resource
import socket
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any

from pade_bench.errors import DataError, printable

_DOWNLOAD_TIMEOUT = 15.0  # seconds without an answer before the next mirror is tried
_GZIP = b"\x1f\x8b"  # how a compressed file begins, whatever it is called


@dataclass(frozen=True)
class PublishedFiles:
    """The files of a data set, and where they may lie: where torchvision keeps them, or in root.

    Args:
        data_set: its name, for messages.
        root: the folder that the user gives.
        folder: where torchvision keeps the files, below ``root``.
        names: what they are called.
        most_bytes: the length of the longest file that is published or unpacked.
        suffixes: of which each name may carry one, the preferred first.
        archive: a file in ``root`` that holds them all, where there is such a thing.
    """

    data_set: str
    root: Path
    folder: str
    names: tuple[str, ...]
    most_bytes: int
    suffixes: tuple[str, ...] = ("",)
    archive: str = ""

    @property
    def home(self) -> Path:
        """The folder that torchvision keeps them in."""
        return self.root / self.folder

    def path(self, folder: Path, name: str) -> Path | None:
        """Return the path of a file in ``folder``, None if it is not there.

        Where no file has exactly that name, one will do that differs in case, punctuation or the
        ending of a compressed file: what it is, its content says.
        """
        paths = [folder / f"{name}{suffix}" for suffix in self.suffixes]
        paths += [folder / other for other in _files(folder) if _letters(other) == _letters(name)]
        # os.path.isfile is False where Path.is_file raises: in a folder one may not enter.
        return next((path for path in paths if os.path.isfile(path)), None)

    def missing(self, folder: Path) -> list[str]:
        """Return the names of the files that are not in ``folder``."""
        return [name for name in self.names if self.path(folder, name) is None]

    def complete(self) -> Path | None:
        """Return the first folder that holds all the files, None if there is none."""
        return next((f for f in (self.home, self.root) if not self.missing(f)), None)

    def obtain(self, download: Callable[[Path], Any], what_to_copy: str) -> Path:
        """Return the folder that holds all the files; download them if there are none of them.

        Args:
            download: puts them where torchvision keeps them below the folder that it is given,
                and checks them.
            what_to_copy: for the message of a failed download.

        Raises:
            DataError: some of them are missing or have other names, or the download failed.
        """
        if (folder := self.complete()) is None:
            self._refuse_incomplete()
            self._refuse_near_misses()
            self._download(download, what_to_copy)
            folder = self.complete() or self.home
        return folder

    def _refuse_incomplete(self) -> None:
        for folder in (self.home, self.root):
            missing = self.missing(folder)
            if len(missing) < len(self.names):
                endings = f" ({' or '.join(s or 'not' for s in self.suffixes)})"
                raise DataError(
                    f"{self.data_set} is incomplete: {folder} lacks {', '.join(missing)}"
                    f"{endings if any(self.suffixes) else ''}. Copy the missing files there, or "
                    "choose another folder with data.root=DIR."
                )

    def _refuse_near_misses(self) -> None:
        for folder in (self.home, self.root):
            for file in _files(folder):
                for name in (*self.names, *filter(None, [self.archive])):
                    if _letters(name) in _letters(file):
                        raise DataError(
                            f"{self.data_set} was not found, but "
                            f"{printable(str(folder / file))}. If that is "
                            f"{name}, give it this name; if not, choose another folder with "
                            "data.root=DIR. Nothing was downloaded."
                        )

    def _download(self, download: Callable[[Path], Any], what_to_copy: str) -> None:
        """Download to a temporary folder: the files appear all at once or not at all."""
        # Of root, what is there already: it is on the same disk, and a failure leaves no trace.
        root = self.root.absolute()
        there = next(folder for folder in (root, *root.parents) if folder.exists())
        try:
            with (
                tempfile.TemporaryDirectory(prefix=".download-", dir=there) as folder,
                _socket_timeout(_DOWNLOAD_TIMEOUT),
                _longest_file(self.most_bytes),
            ):
                download(Path(folder))
                self.home.parent.mkdir(parents=True, exist_ok=True)
                os.rename(Path(folder) / self.folder, self.home)
        except (OSError, RuntimeError, HTTPException) as error:
            if self.complete() is not None:
                return  # another process has downloaded them meanwhile
            raise DataError(
                f"{self.data_set} was found neither in {self.home} nor in {self.root}, and "
                f"downloading it failed: {' '.join(str(error).split())}\n"
                f"Copy {what_to_copy}, or say where they are with data.root=DIR."
            ) from error


def _files(folder: Path) -> list[str]:
    """Return the names of the files in a folder, sorted, hidden ones aside; none where it is not.

    Of a folder that cannot be listed too, which is refused when it is read.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(e.name for e in entries if e.is_file() and not e.name.startswith("."))
    except OSError:
        return []


def _letters(name: str) -> str:
    """Return the letters and digits of a file's name, without the ending of a compressed one."""
    return re.sub(r"(\.(gz|tgz|tar))+$|[^a-z0-9]", "", name.lower())


def read_bytes(path: Path, most_bytes: int) -> bytes:
    """Return the content of a file, uncompressed where it is, whatever its name says.

    Raises:
        DataError: it cannot be read, its compressed data is truncated or corrupted, or it holds
            more than ``most_bytes``.
    """
    try:
        with path.open("rb") as file, unpacked(file) as content:
            found: bytes = content.read(most_bytes + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise truncated_or_corrupted(path, error) from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    if len(found) > most_bytes:
        raise truncated_or_corrupted(path, f"it holds more than {most_bytes:,} bytes")
    return found


def unpacked(file: IO[bytes]) -> Any:
    """Return an open file that holds what another one does, uncompressed if that is compressed."""
    is_packed = file.read(len(_GZIP)) == _GZIP
    file.seek(0)
    return gzip.GzipFile(fileobj=file, mode="rb") if is_packed else file


def truncated_or_corrupted(path: Path, error: object) -> DataError:
    """Return what to raise where a compressed file cannot be unpacked."""
    return DataError(f"{path} is truncated or corrupted ({error}). Replace it by a fresh copy.")


def verify(
    content: bytes, source: str | Path, name: str, data_set: str, official: Mapping[str, Mapping]
) -> None:
    """Check that ``content`` is the official file ``name`` of ``data_set``.

    Args:
        content: of the file, uncompressed.
        source: where it comes from, for the message.
        name: the file that it must be …
        data_set: … of this data set.
        official: the MD5 of each file of each data set: what it may be instead is said.

    Raises:
        DataError: it is another file, or has been changed.
    """
    # MD5 is what was published: it guards against accidents.
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if digest == official[data_set][name]:
        return
    known = {
        checksum: f"it is {other} of {owner}"
        for owner, files in official.items()
        for other, checksum in files.items()
    }
    what = known.get(digest, f"the MD5 of its uncompressed content is {digest}")
    raise DataError(
        f"{source} is not the official {name} of {data_set}: {what}. Put the official file in its "
        "place, or choose another folder with data.root=DIR."
    )


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """Bound how long new sockets wait; torchvision's downloads would wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


@contextmanager
def _longest_file(most_bytes: int) -> Iterator[None]:
    """Let this process write no longer files: a server that never ends does not fill the disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    soft = most_bytes if before[0] == resource.RLIM_INFINITY else min(most_bytes, before[0])
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
