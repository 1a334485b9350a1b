"""Wording the errors of Hydra and OmegaConf for a user who typed a command line."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from pade_bench.config.fields import declared, unknown
from pade_bench.config.history import RENAMED
from pade_bench.config.schema import Config
from pade_bench.errors import one_of

_WITH_ARGUMENTS = ("activation", "data", "model", "optim")


def explain(error: BaseException) -> str:
    """Return one line that says which setting or name is wrong, and what is allowed."""
    if again := re.match(r"Multiple values for (\S+)\. .* 'override \S+: (.+)'", str(error)):
        return f"+{again[1]}={again[2]}: {again[1]} is chosen already, so write it without the +."
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
            return _explain_override(str(cause.override), str(cause).splitlines()[0])
        cause = cause.__cause__ or cause.__context__
    return str(error)


def _explain_override(override: str, reason: str) -> str:
    key, _, value = override.partition("=")
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    quoted = f'{key}="{escaped}"'
    if value.startswith(("[", "{", "'", '"')) or not _can_be_read(quoted):
        return f"cannot read {override}: {reason}"
    return (
        f"cannot read {override}: a text with other signs than letters, digits and _-./:+ must be "
        f"quoted, for the shell too: {shlex.quote(quoted)}"
    )


def _can_be_read(override: str) -> bool:
    try:
        OverridesParser.create().parse_override(override)
    except HydraException:
        return False
    return True


def _explain_key(error: OmegaConfBaseException) -> str:
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key} is missing."
    parent = error.parent_node
    key = str(error.full_key)
    if not isinstance(parent, DictConfig) or error.key in parent:
        reason = re.sub(r"^\w+ raised while resolving interpolation: ", "", str(error))
        first = reason.splitlines()[0].strip('"')
        return f"{key}: {first}"
    for renamed in RENAMED:
        if key == f"{renamed.group}.{renamed.old}":
            return f"{key} is not a setting any more: it is {renamed.group}.{renamed.new} now."
    elsewhere = [k for k, _ in declared(Config) if k.rpartition(".")[2] == str(error.key)]
    if elsewhere:
        return f"{key} is not a setting: see {' and '.join(elsewhere)}."
    names = [str(name) for name in parent if name != "hydra"]
    message = str(unknown(key, names if "." in key else [*names, "experiment"]))
    if key.count(".") == 1 and key.partition(".")[0] in _WITH_ARGUMENTS:
        message += f" Another argument of what it names is added with +{key}=…"
    return message


def explain_inside_a_value(arguments: Sequence[str]) -> str:
    """Word what Hydra only asserts: an override is about something inside of a value."""
    settings = {key for key, _ in declared(Config)}
    for argument in arguments:
        key = argument.partition("=")[0].lstrip("+~")
        parent = key.rpartition(".")[0]
        if parent in settings:
            hint = f" Choose one first: schedule@{parent}=NAME." if "schedule" in parent else ""
            return f"{key} is not a setting: {parent} is not a group of settings here.{hint}"
    return "a setting is given for something that is not a group of settings."
