"""Lines on the progress of a run: what trains it prints them, and a sweep passes them on."""

from __future__ import annotations

_EPOCH, _RESUMING, _PRUNED = "epoch ", "resuming after epoch ", " % of the filters pruned"


def epoch_line(epoch: int, epochs: int, measured: str) -> str:
    """Return the line on an epoch, counted from 1, that is complete or has diverged."""
    return f"{_EPOCH}{epoch}/{epochs}  {measured}"


def resuming_line(epoch: int, epochs: int) -> str:
    """Return the line on the last complete epoch of a run that is resumed."""
    return f"{_RESUMING}{epoch} of {epochs}"


def pruned_line(share: float) -> str:
    """Return the line on the next run of a pruning experiment; ``share`` in percent."""
    return f"{share:g}{_PRUNED}"


def is_progress(line: str) -> bool:
    """Tell these lines from whatever else a run prints."""
    return line.startswith((_EPOCH, _RESUMING)) or line.endswith(_PRUNED)
