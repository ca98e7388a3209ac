"""COCO's format for instances and keypoints."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from keras_parts.inference.inputs import ImageFile
from keras_parts.inference.output import Output
from keras_parts.inference.writers.base import Records, RunInfo, Writer, json_list, valid_text
from keras_parts.results.annotations import COCO_CONTRIBUTOR
from keras_parts.results.parts import Parts


class CocoWriter(Writer):
    description = (
        "COCO (JSON): run-length masks of each object, with keypoints at the centres of its parts, "
        "and of each of its parts"
    )
    merged = ("coco.json",)
    packages = ("pycocotools",)

    def record(self, parts: Parts, file: ImageFile) -> Any:
        width, height = parts.size
        return {"width": width, "height": height, "annotations": parts.coco()}

    def merge(self, records: Records, run: RunInfo, output: Output) -> None:
        head = {
            "info": {
                "description": f"parts found by {run.model or 'keras-parts'}",
                "contributor": COCO_CONTRIBUTOR,
            },
            "licenses": [],
            "categories": _categories(run.names),
        }
        with output.create(self.merged[0]) as file:
            file.write(json.dumps(head, indent=1).rstrip("\n}").encode())
            for name, items in (("images", _images), ("annotations", _annotations)):
                file.write(f',\n "{name}": '.encode())
                file.writelines(json_list(items(records)))
            file.write(b"\n}\n")


def _categories(names: Sequence[str]) -> list[dict[str, Any]]:
    parts = [
        {"id": label, "name": name, "supercategory": "part"}
        for label, name in enumerate(names, start=1)
    ]
    whole_object = {"id": 1 + len(names), "name": "object", "supercategory": "object"}
    return [*parts, whole_object | {"keypoints": list(names), "skeleton": []}]


def _images(records: Records) -> Iterator[dict[str, Any]]:
    for number, (file, record) in enumerate(records, start=1):
        size = {"width": record["width"], "height": record["height"]}
        yield {"id": number, "file_name": valid_text(file.relative), **size}


def _annotations(records: Records) -> Iterator[dict[str, Any]]:
    number = 0
    for image, (_, record) in enumerate(records, start=1):
        for annotation in record["annotations"]:
            number += 1
            yield {"id": number, "image_id": image, **annotation}
