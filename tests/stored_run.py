"""Changing what a run has left behind, with the digests: as somebody could who means it."""

import io
import json

import torch
import yaml

from pade_bench.config.history import historic
from pade_bench.runs.config_file import parse, with_digest
from pade_bench.runs.files import digest
from pade_bench.runs.home import shaping_settings
from pade_bench.training.checkpoints import add_digest


def forge_config(home, change):
    """Let ``change`` edit the settings in place; say in all files that these were trained."""
    path = home / "config.yaml"
    config = parse(path.read_bytes())
    change(config)
    path.write_bytes(with_digest(yaml.safe_dump(config, sort_keys=False)))
    settings = historic(shaping_settings(config))
    of = {"config_hash": digest(settings), "seed": config["seed"]}
    if (home / "last.ckpt").exists():
        forge_checkpoint(home / "last.ckpt", lambda checkpoint: checkpoint.update(run=of))
    if (home / "record.json").exists():
        forge_record(home, lambda record: record.update(of))


def forge_checkpoint(path, change):
    """Let ``change`` edit a checkpoint in place."""
    checkpoint = torch.load(path, weights_only=True)
    change(checkpoint)
    content = io.BytesIO()
    torch.save(checkpoint, content)
    add_digest(content)
    path.write_bytes(content.getvalue())


def forge_record(home, change):
    """Let ``change`` edit the record in place."""
    record = json.loads((home / "record.json").read_text())
    del record["checksum"]
    change(record)
    record["checksum"] = digest(record)
    (home / "record.json").write_text(json.dumps(record))
