"""Annotations of `Parts` for other tools: a table, COCO, Label Studio, CVAT and supervision."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_parts.errors import ConfigError
from keras_parts.results.rle import coco_rle, cvat_rle, label_studio_rle

if TYPE_CHECKING:
    from keras_parts.results.part import Part
    from keras_parts.results.parts import Parts


COCO_CONTRIBUTOR = "keras-parts"
"""`info.contributor` in COCO files of this package, whose keypoints are measured from the corner of
the image as annotation tools do; COCO's own are numbers of pixels."""


def table_rows(parts: "Parts") -> list[dict[str, Any]]:
    """See `Parts.table`."""
    return [
        {
            "part": part.label,
            "name": part.name,
            "x": round(float(part.centroid[0]), 3),
            "y": round(float(part.centroid[1]), 3),
            "area": part.area,
            **_corners(part.box),
            "score": round(part.score, 6),
            "object": number,
        }
        for number, part in numbered_parts(parts)
    ]


def object_rows(parts: "Parts") -> list[dict[str, Any]]:
    """The objects in `Parts.to_dict`."""
    return [
        {"object": number, "area": one.area, **_corners(one.box), "score": round(one.score, 6)}
        for number, one in enumerate(parts.objects, start=1)
    ]


def numbered_parts(parts: "Parts") -> Iterator[tuple[int, "Part"]]:
    """(number of its object, part) of the parts in the image, object by object."""
    for number, one in enumerate(parts.objects, start=1):
        for label in one.present:
            yield number, one[label]


def _corners(box: np.ndarray) -> dict[str, float]:
    return dict(zip(("x0", "y0", "x1", "y1"), box.tolist(), strict=True))


def coco_annotations(parts: "Parts") -> list[dict[str, Any]]:
    """See `Parts.coco`."""
    annotations = []
    for number, one in enumerate(parts.objects, start=1):
        own = [_coco_annotation(one[label], _placed(one[label]), label) for label in one.present]
        annotations += [each | {"object": number} for each in [*own, _coco_object(one)]]
    return annotations


def _coco_object(parts):
    """The annotation of the whole object, with the centroids of its parts as keypoints."""
    present = parts.areas > 0
    points = np.where(present[:, None], parts.centroids.astype(float) + 0.5, 0).round(3)
    keypoints = [
        value
        for point, is_present in zip(points.tolist(), present.tolist(), strict=True)
        for value in (*point, 2 * is_present)
    ]
    mask = _placed_mask(parts.labels[parts.window] > 0, parts.window, parts)
    annotation = _coco_annotation(parts, mask, 1 + len(parts))
    return annotation | {"keypoints": keypoints, "num_keypoints": int(present.sum())}


def _coco_annotation(what, mask, category):
    """The annotation of a part, or of an object as `Parts`."""
    left, top, right, bottom = (what.box + 0.5).tolist()
    return {
        "category_id": category,
        "segmentation": coco_rle(**mask),
        "area": what.area,
        "bbox": [left, top, right - left, bottom - top],
        "iscrowd": 0,
        "score": round(what.score, 6),
    }


def _placed(part):
    """The part's mask inside its window, and where that lies, as run-length codes take them."""
    mask = part.parts.labels[part.window] == part.label
    return _placed_mask(mask, part.window, part.parts)


def _placed_mask(mask, window, parts):
    rows, columns = window
    return {"mask": mask, "origin": (rows.start, columns.start), "size": parts.size[::-1]}


def label_studio_regions(parts: "Parts") -> list[dict[str, Any]]:
    """See `Parts.label_studio`."""
    width, height = parts.size
    several = len(parts.objects) > 1
    return [
        {
            "id": f"object-{number}-part-{part.label}" if several else f"part-{part.label}",
            "type": "brushlabels",
            "from_name": "parts",
            "to_name": "image",
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "score": round(part.score, 6),
            "value": {
                "format": "rle",
                "rle": label_studio_rle(**_placed(part)),
                "brushlabels": [part.name],
            },
            **({"meta": {"text": [f"object {number}"]}} if several else {}),
        }
        for number, part in numbered_parts(parts)
    ]


def cvat_masks(parts: "Parts") -> list[dict[str, Any]]:
    """See `Parts.cvat`."""
    several = len(parts.objects) > 1
    masks = []
    for number, part in numbered_parts(parts):
        runs = cvat_rle(**_placed(part))
        assert runs is not None  # the part has pixels
        group = {"group_id": number} if several else {}
        masks.append({"label": part.name, **runs, **group})
    return masks


def supervision_detections(parts: "Parts") -> Any:
    """See `Parts.to_supervision`."""
    try:
        import supervision
    except ImportError:
        raise ConfigError(
            "to_supervision needs supervision, which is not installed: pip install supervision"
        ) from None
    found = list(numbered_parts(parts))
    if not found:
        return supervision.Detections.empty()
    return supervision.Detections(
        xyxy=np.array([part.box for _, part in found]) + np.float32(0.5),
        mask=np.array([part.mask for _, part in found]),
        confidence=np.array([part.score for _, part in found], np.float32),
        class_id=np.array([part.label for _, part in found]),
        data={
            "class_name": np.array([part.name for _, part in found]),
            "object": np.array([number for number, _ in found]),
        },
    )
