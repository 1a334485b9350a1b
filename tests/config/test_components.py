"""What a configuration names is made, once its arguments are such as it takes."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from pade_bench.config import components
from pade_bench.config.components import bind, make
from pade_bench.config.fields import Component
from pade_bench.errors import ConfigurationError


class Thing:
    """Stands for what a group of the configuration holds."""

    def __init__(self, size: int, scale: float = 1.0, path: str | Path | None = None) -> None:
        if size < 1:
            raise ConfigurationError(f"size={size}: must be at least 1.")
        if scale < 0:
            raise ValueError("it cannot be negative")
        self.arguments = (size, scale, path)


class Larger(Thing):
    def __init__(self, names: Sequence[str] = (), flag: bool = False, **others: object) -> None:
        super().__init__(**others)
        self.names = names


class Mistaken(Thing):
    def __init__(self) -> None:
        super().__init__("a" + 1)


def returns_a_number() -> int:
    return 3


@pytest.fixture(autouse=True)
def found(monkeypatch):
    def locate(group, target, base, *_):
        return globals()[target]

    monkeypatch.setattr(components, "locate", locate)


def test_it_is_made_with_its_arguments_and_those_that_are_given():
    made = make("data", Component("Thing", {"scale": 2}), Thing, size=3)
    assert made.arguments == (3, 2, None)
    assert bind("data", Component("Thing", {"size": 3}), Thing)().arguments == (3, 1.0, None)


@pytest.mark.parametrize(
    ("target", "arguments", "complaint"),
    [
        ("Thing", {"sise": 1}, "data.sise: Thing takes size, scale, path. Did you mean 'size'?"),
        ("Thing", {"size": 1.5}, "data.size=1.5: must be a whole number."),
        ("Thing", {"size": True}, "data.size=True: must be a whole number."),
        ("Thing", {"size": 1, "scale": "far"}, "data.scale='far': must be a number."),
        ("Thing", {"size": 1, "path": 3}, "data.path=3: must be text or a path or null."),
        ("Thing", {"size": 0}, "data.size=0: must be at least 1."),
        ("Thing", {"size": 1, "scale": -1}, "data: Thing refuses its arguments: it cannot be neg"),
        ("Thing", {}, "data: Thing refuses its arguments: Thing.__init__() missing 1 required"),
        ("Larger", {"sise": 1}, "data.sise: Larger takes names, flag, size, scale, path. Did you"),
        ("Larger", {"size": 1, "names": "a"}, "data.names='a': must be a list."),
        ("Larger", {"size": 1, "flag": 1}, "data.flag=1: must be true or false."),
        ("Larger", {"size": "1"}, "data.size='1': must be a whole number."),
        ("returns_a_number", {}, "data._target_=returns_a_number returns a int, not a Thing."),
    ],
)
def test_wrong_arguments_are_named(target, arguments, complaint):
    with pytest.raises(ConfigurationError) as error:
        make("data", Component(target, arguments), Thing)
    assert str(error.value).startswith(complaint)


def test_an_argument_that_the_program_gives_is_not_a_setting():
    with pytest.raises(ConfigurationError, match=r"data\.size: pade_bench sets this"):
        make("data", Component("Thing", {"size": 3}), Thing, size=3)


def test_a_mistake_in_its_own_code_keeps_its_traceback():
    with pytest.raises(TypeError, match="can only concatenate"):
        make("data", Component("Mistaken", {}), Thing)


def test_whole_numbers_and_null_are_taken_where_they_fit():
    arguments = {"size": 1, "scale": 2, "path": None, "names": ["a"]}
    assert make("data", Component("Larger", arguments), Thing).arguments == (1, 2, None)


def test_what_is_not_written_in_python_takes_anything(monkeypatch):
    monkeypatch.setitem(globals(), "dict", dict)
    assert make("data", Component("dict", {"a": 1}), dict) == {"a": 1}
