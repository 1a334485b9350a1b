"""Whatever a record says, what is made of it is the name of one file and no path."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pade_bench.runs.names import HomeName, file_name

HOSTILE = [
    "..", ".", "", "/etc/passwd", "../up", "a/b", "a\\b", "-rf", "~", "a\0b", "a\nb", "\ud800",
    "\u202etxt", "x" * 5000, "é" * 200, " ", "a.", ".hidden", "a:b", "con?*",
]  # fmt: skip


@pytest.mark.parametrize("also", ["", " (),=%"])
@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_a_hostile_text_becomes_a_name_in_its_folder(tmp_path, text, also):
    name = file_name(text, also)
    path = tmp_path / name
    path.mkdir()
    assert path.parent == tmp_path
    assert list(tmp_path.iterdir()) == [path.resolve()]
    assert name.isascii()
    assert name[0] not in "-. "


def test_texts_that_differ_have_names_that_differ():
    assert len({file_name(text) for text in HOSTILE}) == len(HOSTILE)


def test_an_ordinary_name_stays_as_it_is():
    assert file_name("mnist_lenet-1f3a.csv") == "mnist_lenet-1f3a.csv"
    assert file_name("PAU (init=relu)", also=" ()=") == "PAU (init=relu)"


NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,8}(-[g-z]{1,8})?", fullmatch=True)


@given(
    NAMES, NAMES, st.integers(0, 2**32), st.sampled_from(["", "1f3a9c02"]),
    st.sampled_from([0.0, 5.0, 12.5, 99.9]),
)  # fmt: skip
def test_the_name_of_a_home_is_read_back(experiment, activation, seed, changes, share):
    home = HomeName(experiment, activation, seed, changes, share)
    assert HomeName.parse(Path("some/where") / home.path()) == home


def test_homes_are_named_as_they_always_were():
    name = HomeName("prune_mnist_lenet", "pau", 3, "1f3a9c02", 30.0)
    assert str(name.path()) == "prune_mnist_lenet/pau-1f3a9c02-pruned30/seed3"
    assert str(HomeName("mnist_lenet", "my-act", 0).path()) == "mnist_lenet/my-act/seed0"
    assert HomeName.parse(Path("mnist_lenet/my-act/seed0")).activation == "my-act"


@pytest.mark.parametrize(
    "path", ["seed0", "a/b/seed", "a/b/seed-1", "a/b/seedx", "a/b/c", "", "a/b-pruned1e/seed0"]
)
def test_what_is_no_name_of_a_home_is_refused(path):
    with pytest.raises(ValueError, match=r"its path does not end with|could not convert"):
        HomeName.parse(Path(path))
