"""Whatever a record says, what is made of it is the name of one file and no path."""

import pytest

from pade_bench.runs.names import file_name

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
