"""The name of a run's home, and names of files that are made of anybody's text."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path, PurePath

LONGEST = 120  # characters of a text that are kept; file systems take 255 bytes
_VARIANT = re.compile(
    r"(?P<activation>.+?)(-(?P<changes>[0-9a-f]{8}))?(-pruned(?P<share>[0-9.e+-]{1,20}))?"
)
_SEED = re.compile(r"seed([0-9]{1,20})")


@dataclass(frozen=True)
class HomeName:
    """Where a run lies below ``runs_dir``: experiment/activation[-changes][-pruned<share>]/seed<n>.

    Attributes:
        experiment: the chosen experiment.
        activation: the chosen activation.
        seed: of the run.
        changes: eight digits of a hash of what else was set, or nothing.
        pruned_share: percent of the filters that are missing.
    """

    experiment: str
    activation: str
    seed: int
    changes: str = ""
    pruned_share: float = 0.0

    def path(self) -> Path:
        """Return the home as a path below ``runs_dir``."""
        variant = self.activation
        variant += f"-{self.changes}" if self.changes else ""
        variant += f"-pruned{self.pruned_share:g}" if self.pruned_share else ""
        return Path(self.experiment, variant, f"seed{self.seed}")

    @classmethod
    def parse(cls, home: PurePath) -> HomeName:
        """Return what the last three parts of a path say, the inverse of :meth:`path`.

        Raises:
            ValueError: they are not those of a home.
        """
        experiment, name, last = ("", "", "", *home.parts)[-3:]
        seed, variant = _SEED.fullmatch(last), _VARIANT.fullmatch(name)
        if not (experiment and variant and seed):
            raise ValueError("its path does not end with experiment/activation/seed<number>")
        share = float(variant["share"] or 0)
        return cls(experiment, variant["activation"], int(seed[1]), variant["changes"] or "", share)


def file_name(text: str, also: str = "") -> str:
    """Return the name of a file or folder for a text, whoever wrote that.

    It holds ASCII letters, digits, ``_``, ``-`` and ``.`` alone, and begins with neither dash nor
    dot. Texts that differ have names that differ: where a character was replaced or the text was
    cut, a hash of the whole follows.

    Args:
        text: anything.
        also: further characters that are kept within the name.
    """
    unsafe = rf"[^A-Za-z0-9_.\-{re.escape(also)}]|^[^A-Za-z0-9_]|[. ]\Z"
    name = re.sub(unsafe, "_", text)[:LONGEST] or "_"
    if name == text:
        return name
    return f"{name}-{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:8]}"
