"""A stored configuration is plain data, read strictly, and damage to it is noticed."""

import os

import pytest
import yaml

from pade_bench.runs import config_file
from pade_bench.runs.config_file import parse, read_config, with_digest

TEXT = """\
activation:
  _target_: pade_bench.activations.PAU
  degrees:
  - 5
  - 4
  init: lrelu_0.01
optim:
  lr: 0.002
  eps: 1.0e-08
  gradient_clip_norm: null
  milestones: []
seed: 3
restart: false
note: 'yes: # "quoted"'
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_bytes(with_digest(TEXT))
    return path


def test_settings_are_read_as_they_were_written(path):
    assert read_config(path) == yaml.safe_load(TEXT)
    assert read_config(path)["optim"]["eps"] == 1e-8
    path.write_text(TEXT)  # 0.1 wrote no digest
    assert read_config(path) == yaml.safe_load(TEXT)


def test_every_flipped_bit_is_noticed_or_changes_nothing(path):
    content = path.read_bytes()
    expected = read_config(path)
    noticed = 0
    for bit in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            found = read_config(path)
        except ValueError:
            noticed += 1
        else:  # a comment that says nothing
            assert {**found, "restart": False} == expected, (bit, flipped)
    assert noticed > 0.9 * 8 * len(content)


def test_a_file_whose_end_was_cut_off_is_not_taken_for_an_old_one(path):
    content = path.read_bytes()
    for length in range(1, len(content)):
        path.write_bytes(content[:-length])
        with pytest.raises(ValueError, match=r"^config\.yaml"):
            read_config(path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: ${oc.env:HOME}", "stands for nothing but itself"),
        ("a:\n- ${b}", "stands for nothing but itself"),
        ("a: ???", "stands for nothing but itself"),
        ("a: &x [1]\nb: *x", "an alias"),
        ("a: !!python/object/apply:os.system [ls]", "the tag"),
        ("!!set {a}", "the tag"),
        ("a: 2001-01-01", "no number, text"),
        ("<<: {a: 1}", "no number, text"),
        ("a: 1\na: 2", "is there twice"),
        ("1: 2", "is no name"),
        ("[a]: 2", "nested too deeply"),
        ("a: " + "9" * 5000, "a number of 5,000 digits"),
        ("a: .nan", "not a finite number"),
        ("a: .inf", "not a finite number"),
        ("a: " + "[" * 30, "nested too deeply"),
        ("a: " + "[" * 100_000, "maximum nesting depth"),
        ("a: 1\n---\nb: 2", "several documents"),
        ("- 1", "holds no settings"),
        ("", "holds no settings"),
        ("a: [", "expected"),
        ("a: \x07", "characters are not allowed"),
        ("a: \udcff", "can't decode"),
    ],
    ids=lambda text: ascii(text)[:20],
)
def test_what_training_never_writes_is_refused(path, text, reason):
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=r"^config\.yaml") as error:
        read_config(path)
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


def test_aliases_do_not_explode(path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 20)]
    path.write_text("\n".join(lines))
    with pytest.raises(ValueError, match="line 1 holds an alias"):
        read_config(path)


def make_pipe(path):
    os.mkfifo(path)


def make_link(path):
    path.symlink_to("/dev/zero")


def make_directory(path):
    path.mkdir()


def make_long(path):
    with open(path, "wb") as file:
        file.truncate(config_file.MOST_BYTES + 1)


@pytest.mark.parametrize("make", [make_pipe, make_link, make_directory, make_long])
def test_only_a_regular_file_of_ordinary_length_is_read(path, make):
    path.unlink()
    make(path)
    with pytest.raises(ValueError, match=r"^config\.yaml (is a|has)"):
        read_config(path)


def test_the_parser_of_python_reads_the_same(monkeypatch):
    expected = parse(TEXT.encode())
    monkeypatch.setattr(config_file, "_PARSER", yaml.SafeLoader)
    assert parse(TEXT.encode()) == expected
