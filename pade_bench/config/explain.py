"""Wording the errors of Hydra and OmegaConf for a user who typed a command line."""

from __future__ import annotations

import re

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from pade_bench.config.fields import unknown
from pade_bench.errors import one_of


def explain(error: BaseException) -> str:
    """Return one line that says which setting or name is wrong, and what is allowed."""
    # Hydra names the file of a mistake in YAML at the beginning of its own message.
    in_file = re.match(r"In '([^']+)': ", str(error))
    where = f"{in_file[1]}.yaml: " if in_file and in_file[1] != "config" else ""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OmegaConfBaseException) and cause.full_key:
            return where + _explain_key(cause)
        if isinstance(cause, MissingConfigException) and cause.missing_cfg_file and cause.options:
            group, _, name = str(cause.missing_cfg_file).rpartition("/")
            return where + one_of(group, name, sorted(cause.options))
        if isinstance(cause, OverrideParseException):
            return f"cannot read {cause.override}: {str(cause).splitlines()[0]}"
        cause = cause.__cause__ or cause.__context__
    return str(error)


def _explain_key(error: OmegaConfBaseException) -> str:
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key} is missing."
    parent = error.parent_node
    if not isinstance(parent, DictConfig) or error.key in parent:
        return f"{error.full_key}: {str(error).splitlines()[0]}"
    names = [str(name) for name in parent if name != "hydra"]
    key = str(error.full_key)
    return str(unknown(key, names if "." in key else [*names, "experiment"]))
