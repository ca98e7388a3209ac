"""A card, and entries whose files have five bytes, for tests without a model."""

import hashlib
import json
from pathlib import Path

from keras_parts.zoo.cards import CARD_FILE, Card, FileRecord

RECORD = {"sha256": hashlib.sha256(b"hello").hexdigest(), "size": 5}
CARD = {
    "format": 2,
    "name": "birds-4",
    "version": "1.0.0",
    "about": "Two parts of birds.",
    "intended_use": "research",
    "limits": "birds only",
    "citation": "somebody, 2021",
    "parts": 2,
    "part_names": ["head", "tail"],
    "palette": [[0, 114, 178], [230, 159, 0]],
    "pairs": [],
    "segmenter": {"parts": 2, "part_names": ["head", "tail"], "architecture": "small"},
    "parameters": 439_309,
    "training": {
        "dataset": "cub",
        "split": "train",
        "images": 1200,
        "categories": 40,
        "recipe": {"name": "default", "parts": 2},
        "seed": 1,
        "steps": 320,
        "commit": "",
        "versions": {"keras": "3.15.1"},
    },
    "evaluation": {
        "dataset": "cub",
        "split": "test",
        "images": 1090,
        "values": {"cub-foreground": {"FG-NMI": 55.04, "FG-ARI": 30.0}},
        "titles": {"cub-foreground": "box crop, parts at visible keypoints, no background"},
        "shares": [0.25, 0.75],
        "seeds": [],
        "chosen_by": "",
    },
    "licences": {"code": "Apache-2.0", "weights": "Apache-2.0", "data": "research only"},
    "golden_tolerance": 0.0001,
    "files": {
        "segmenter.json": RECORD,
        "segmenter.weights.h5": RECORD,
        "golden.h5": RECORD,
    },
}


def make_entry(folder: Path, contents: dict[str, bytes] | None = None, **fields) -> Card:
    """Write an entry of files with these contents, by default b"hello" each; returns the card."""
    contents = dict.fromkeys(CARD["files"], b"hello") | (contents or {})
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    files = {name: FileRecord.of(folder / name) for name in contents}
    records = {name: {"sha256": one.sha256, "size": one.size} for name, one in files.items()}
    card = Card.decode(json.dumps(CARD | fields | {"files": records}).encode(), folder / CARD_FILE)
    (folder / CARD_FILE).write_bytes(card.encode())
    return card
