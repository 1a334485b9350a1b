"""Declared settings are built from plain data, every one checked, and written back."""

from dataclasses import dataclass

import pytest

from pade_bench.config.fields import (
    AT_LEAST_1,
    Component,
    declared,
    flatten,
    from_plain,
    setting,
    to_plain,
)
from pade_bench.errors import ConfigurationError


@dataclass
class Group:
    lr: float = setting(0.1)


@dataclass
class Thing(Component):
    group: Group = setting(Group)
    clip: float | None = setting(None, AT_LEAST_1)


@dataclass
class Settings:
    thing: Thing
    epochs: int = setting(3, AT_LEAST_1, added=True)
    device: str = setting("cpu", ("cpu", "cuda"), place=True)


PLAIN = {
    "thing": {"_target_": "a.B", "betas": [0.9, 0.99], "group": {"lr": 0.5}, "clip": None},
    "epochs": 3,
    "device": "cuda",
}


def test_plain_data_becomes_dataclasses_and_plain_data_again():
    settings = from_plain(Settings, PLAIN)
    assert settings.thing.target == "a.B"
    assert settings.thing.arguments == {"betas": [0.9, 0.99]}
    assert settings.thing.group == Group(0.5)
    assert to_plain(settings) == PLAIN


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("epochs", 0, "epochs=0: must be a whole number of at least 1."),
        ("device", "cdua", "device='cdua' is not one of cpu, cuda. Did you mean 'cuda'?"),
        ("devices", 1, "devices is not a setting: the configuration has device, epochs, thing."),
        ("thing.clip", 0.5, "thing.clip=0.5: must be"),
        ("thing.group.lrr", 1, "thing.group.lrr is not a setting: thing.group has lr."),
        ("thing.group", None, "thing.group=None: must be a group of settings."),
        ("thing._target_", None, "thing: it names no class (_target_)."),
    ],
)
def test_what_is_wrong_is_named(key, value, complaint):
    plain = {**PLAIN, "thing": {**PLAIN["thing"], "group": {**PLAIN["thing"]["group"]}}}
    *path, name = key.split(".")
    group = plain
    for part in path:
        group = group[part]
    group[name] = value
    with pytest.raises(ConfigurationError) as error:
        from_plain(Settings, plain)
    assert str(error.value).startswith(complaint)


def test_a_missing_setting_is_named():
    with pytest.raises(ConfigurationError, match=r"^device is missing\.$"):
        from_plain(Settings, {"thing": PLAIN["thing"], "epochs": 3})


def test_null_is_allowed_where_the_type_allows_it():
    assert from_plain(Settings, PLAIN).thing.clip is None


def test_settings_are_listed_with_what_is_declared_of_them():
    listed = dict(declared(Settings))
    assert list(listed) == ["thing.group.lr", "thing.clip", "epochs", "device"]
    assert [key for key, one in listed.items() if one.metadata["place"]] == ["device"]
    assert [key for key, one in listed.items() if one.metadata["added"]] == ["epochs"]


def test_nested_settings_have_one_name():
    assert flatten({"a": {"b": 1, "c": {"d": [2]}}, "e": None}) == {
        "a.b": 1, "a.c.d": [2], "e": None,
    }  # fmt: skip
