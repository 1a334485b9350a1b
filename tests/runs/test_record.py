"""A record says the same when it is read, cannot be changed unnoticed, and is documented.

``python tests/runs/test_record.py`` writes the table of keys in docs/record.md anew.
"""

import dataclasses
import inspect
import json
import random
import re
from pathlib import Path

import pytest
from synthetic_runs import make_record

from pade_bench.runs.files import digest
from pade_bench.runs.record import Progress, Record
from pade_bench.runs.record_parts import Images, Provenance, Pruning
from pade_bench.runs.values import check

DOCUMENT = Path(__file__).parents[2] / "docs" / "record.md"
# As version 0.1 wrote them, shortened.
OLD_RECORD = """{"experiment": "digits_lenet", "data": "digits", "model": "lenet",
 "activation": "pau", "seed": 0, "status": "finished", "epochs": 1,
 "test_accuracy": 74.72222222222223,
 "test_accuracy_per_epoch": [74.72222222222223], "train_loss_per_epoch": [1.4209248948279734],
 "parameters": 61746, "activation_parameters": 40, "activation_layers": 4,
 "wall_seconds": 0.13363181599999052, "wall_seconds_per_epoch": [0.13363181599999052],
 "config_hash": "6bfc4ed5ea8b56449995856d083f000c02595ced45444a8f9a240194f69ef2e0",
 "changes": {"trainer.max_epochs": 1, "activation.denominator": "sum_of_abs"},
 "provenance": {"pade_bench": "0.1.0", "commit": null, "python": "3.11.7",
  "packages": {"torch": "2.14.1", "cupy-cuda13x": null}, "device": "AMD EPYC", "threads": 1,
  "pade_kernel": "cpu"}}"""
OLD_PROGRESS = """{"experiment": "digits_lenet", "data": "digits", "model": "lenet",
 "activation": "rpau", "seed": 0, "changes": {"activation.denominator": "sum_of_abs"},
 "pruned_share": null, "epochs": 1, "max_epochs": 3,
 "wall_seconds_per_epoch": [0.21711875599999075]}"""


def with_checksum(text):
    record = json.loads(text)
    return json.dumps({**record, "checksum": digest(record)})


RECORDS = {
    "finished": make_record("mnist_lenet", "pau", 3, changes={"trainer.max_epochs": 10}),
    "diverged": make_record("mnist_lenet", "slaf", 0, status="diverged", epochs=2),
    "diverged at once": make_record(
        "mnist_lenet", "slaf", 0, status="diverged", test_accuracy_per_epoch=[], epochs=1
    ),
    "pruned": make_record("prune_mnist_lenet", "relu", 0, pruned_share=30),
    "top-5": make_record(
        "imagenet_mobilenetv2", "pau", 0, 60.0, epochs=2,
        test_top5_accuracy=80.0, test_top5_accuracy_per_epoch=[70.0, 80.0],
    ),
    "with a validation split": make_record(
        "mnist_lenet", "pau", 0, epochs=2,
        validation_accuracy=98.0, validation_accuracy_per_epoch=[97.0, 98.0],
    ),
    "with corrupt images": make_record(
        "imagenet_mobilenetv2", "pau", 0,
        images=Images(corrupt_images={"count": 1, "files": ["train/a/\udcff\n.JPEG"]}),
    ),
    "of my own data": make_record(
        "mine", "pau", 0, images=Images("birds", "00ff"), others={"birds": [1, "two", None]}
    ),
    "on a GPU": make_record(
        "mnist_lenet", "pau", 0, provenance=Provenance(device="H200", gpu={"count": 2})
    ),
}  # fmt: skip
RECORDS["diverged at once"] = dataclasses.replace(
    RECORDS["diverged at once"], epochs=0, train_loss_per_epoch=[], wall_seconds_per_epoch=[],
    train_accuracy_per_epoch=[], test_loss_per_epoch=[],
)  # fmt: skip


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
def test_a_record_says_the_same_when_it_is_read(record):
    text = record.to_json()
    read = Record.from_json(text)
    assert read == record
    assert read.verified
    assert read.to_json() == text


def test_records_of_0_1_are_read_by_todays_names():
    record = Record.from_json(with_checksum(OLD_RECORD))
    assert record.verified
    assert record.test_accuracy_per_epoch.tolist() == [74.72222222222223]
    assert record.changes == {"trainer.max_epochs": 1, "activation.form": "sum_of_abs"}
    assert record.settings is None
    assert record.provenance.packages == {"torch": "2.14.1", "cupy-cuda13x": None}
    assert record.provenance.gpu == {}
    progress = Progress.from_json(OLD_PROGRESS)
    assert progress.changes == {"activation.form": "sum_of_abs"}
    assert (progress.epochs, progress.max_epochs) == (1, 3)


def test_the_checksum_cannot_be_avoided():
    text = with_checksum(OLD_RECORD)
    for name in ("checksun", "Checksum", "checksum "):
        with pytest.raises(ValueError, match=f"no checksum, and the unknown key '{name}'"):
            Record.from_json(text.replace('"checksum"', f'"{name}"'))
    for checksum in ("null", '""', "[]", '"' + "0" * 64 + '"'):
        changed = re.sub(r'"checksum": "\w+"', f'"checksum": {checksum}', text)
        if checksum == "null":
            assert not Record.from_json(changed).verified
        else:
            with pytest.raises(ValueError, match="does not have its checksum"):
                Record.from_json(changed)
    assert not Record.from_json(OLD_RECORD).verified


@pytest.mark.parametrize("name", RECORDS)
def test_every_changed_value_is_noticed(name):
    record = json.loads(RECORDS[name].to_json())
    for key in record:
        for other in ({}, [], None, "other", 12345, key):
            if record[key] == other or (key == "checksum" and other is None):
                continue
            with pytest.raises(ValueError, match="checksum"):
                Record.from_json(json.dumps({**record, key: other}))
        if key != "checksum":
            rest = {k: v for k, v in record.items() if k != key}
            with pytest.raises(ValueError, match="checksum"):
                Record.from_json(json.dumps(rest))


def test_no_flipped_bit_of_a_record_is_believed():
    record = RECORDS["finished"]
    content = record.to_json().encode()
    for bit in random.Random(0).sample(range(8 * len(content)), 2000):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            assert Record.from_json(bytes(flipped)) == record, bit
        except ValueError:
            continue


def documented(kind):
    """Yield each key and its meaning from the docstring of a class."""
    section = inspect.getdoc(kind).partition("Attributes:\n")[2]
    for key, meaning in re.findall(r"^    (\w+): (.*(?:\n        .*)*)", section, re.MULTILINE):
        meaning = re.sub(r":class:`(\w+)`", r"\1", " ".join(meaning.split()))
        yield key, meaning.replace("``", "`").rstrip(".")


def table():
    """Return the table of keys as Markdown."""
    lines = ["| key | meaning |", "|---|---|"]
    parts = {"pruning": Pruning, "images": Images, "provenance": Provenance}
    for key, meaning in documented(Record):
        if key in ("pruning", "images"):
            lines += [f"| `{name}` | {text} |" for name, text in documented(parts[key])]
        elif key not in ("others", "verified"):
            lines.append(f"| `{key}` | {meaning} |")
        if key == "provenance":
            lines += [f"| `provenance.{n}` | {text} |" for n, text in documented(Provenance)]
    lines.append("| `checksum` | of all the rest, so that damage does not pass for a result |")
    return "\n".join(lines)


def test_the_documentation_has_every_key_and_no_other():
    assert table() in DOCUMENT.read_text(encoding="utf-8")
    assert "(record.md)" in (DOCUMENT.parents[1] / "docs" / "runs.md").read_text(encoding="utf-8")
    in_table = set(re.findall(r"^\| `(\w+)`", table(), re.MULTILINE))
    written = {key for record in RECORDS.values() for key in json.loads(record.to_json())}
    assert in_table == written - {"birds"}
    for kind in (Record, Pruning, Images, Provenance):
        assert {key for key, _ in documented(kind)} == {f.name for f in dataclasses.fields(kind)}


if __name__ == "__main__":
    text = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(re.sub(r"\| key \|(.|\n)*?(?=\n\n|\Z)", lambda _: table(), text, count=1))


def test_a_setting_may_be_as_large_as_makes_a_run_diverge():
    check({"optim.weights.lr": 1e30}, "changes")
