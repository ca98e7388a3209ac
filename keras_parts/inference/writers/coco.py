"""COCO's format for instances and keypoints."""

import json

from keras_parts.inference.writers.base import Writer, json_list, written_text


class CocoWriter(Writer):
    about = "COCO (JSON): masks as run lengths, one annotation a part; keypoints at their centres"
    merged = ("coco.json",)
    packages = ("pycocotools",)

    def record(self, parts, file):
        width, height = parts.size
        return {"width": width, "height": height, "annotations": parts.coco()}

    def merge(self, records, labels, output):
        head = {
            "info": {"description": f"parts found by {labels.model or 'keras-parts'}"},
            "licenses": [],
            "categories": _categories(labels.names),
        }
        with output.create(self.merged[0]) as file:
            file.write(json.dumps(head, indent=1).rstrip("\n}").encode())
            for name, items in (("images", _images), ("annotations", _annotations)):
                file.write(f',\n "{name}": '.encode())
                file.writelines(json_list(items(records)))
            file.write(b"\n}\n")


def _categories(names):
    parts = [
        {"id": label, "name": name, "supercategory": "part"}
        for label, name in enumerate(names, start=1)
    ]
    whole = {"id": 1 + len(names), "name": "object", "supercategory": "object"}
    return [*parts, whole | {"keypoints": list(names), "skeleton": []}]


def _images(records):
    for number, (file, record) in enumerate(records, start=1):
        size = {"width": record["width"], "height": record["height"]}
        yield {"id": number, "file_name": written_text(file.relative), **size}


def _annotations(records):
    number = 0
    for image, (_, record) in enumerate(records, start=1):
        for annotation in record["annotations"]:
            number += 1
            yield {"id": number, "image_id": image, **annotation}
