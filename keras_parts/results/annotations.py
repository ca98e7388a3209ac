"""Annotations of `Parts` for other tools: a table, COCO, Label Studio, CVAT and supervision."""

from typing import TYPE_CHECKING, Any

import numpy as np

from keras_parts.errors import ConfigError
from keras_parts.results.rle import coco_rle, cvat_rle, label_studio_rle

if TYPE_CHECKING:
    from keras_parts.results.parts import Parts


COCO_CONTRIBUTOR = "keras-parts"
"""`info.contributor` in COCO files of this package, whose keypoints are measured from the corner of
the image as annotation tools do; COCO's own are numbers of pixels."""


def table_rows(parts: "Parts") -> list[dict[str, Any]]:
    """See `Parts.table`."""
    return [
        {
            "part": label,
            "name": parts.names[label - 1],
            "x": round(float(parts.centroids[label - 1, 0]), 3),
            "y": round(float(parts.centroids[label - 1, 1]), 3),
            "area": int(parts.areas[label - 1]),
            **dict(zip(("x0", "y0", "x1", "y1"), parts.boxes[label - 1].tolist(), strict=True)),
            "score": round(float(parts.scores[label - 1]), 6),
        }
        for label in parts.present
    ]


def coco_annotations(parts: "Parts") -> list[dict[str, Any]]:
    """See `Parts.coco`."""
    annotations = [
        _coco_annotation(
            parts.labels == label, parts.boxes[label - 1], label, parts.scores[label - 1]
        )
        for label in parts.present
    ]
    if annotations:
        annotations.append(_coco_object(parts))
    return annotations


def _coco_object(parts):
    """The annotation of the whole object, with the centroids of its parts as keypoints."""
    present = parts.areas > 0
    share = parts.areas / parts.areas.sum()
    boxes = parts.boxes[present]
    box = np.concatenate([boxes[:, :2].min(0), boxes[:, 2:].max(0)])
    score = (share[present] * parts.scores[present]).sum()
    points = np.where(present[:, None], parts.centroids.astype(float) + 0.5, 0).round(3)
    keypoints = [
        value
        for point, is_present in zip(points.tolist(), present.tolist(), strict=True)
        for value in (*point, 2 * is_present)
    ]
    annotation = _coco_annotation(parts.foreground, box, 1 + len(parts.names), score)
    return annotation | {"keypoints": keypoints, "num_keypoints": int(present.sum())}


def _coco_annotation(mask, box, category, score):
    left, top, right, bottom = (box + 0.5).tolist()
    return {
        "category_id": category,
        "segmentation": coco_rle(mask),
        "area": int(mask.sum()),
        "bbox": [left, top, right - left, bottom - top],
        "iscrowd": 0,
        "score": round(float(score), 6),
    }


def label_studio_regions(parts: "Parts") -> list[dict[str, Any]]:
    """See `Parts.label_studio`."""
    width, height = parts.size
    return [
        {
            "id": f"part-{label}",
            "type": "brushlabels",
            "from_name": "parts",
            "to_name": "image",
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "score": round(float(parts.scores[label - 1]), 6),
            "value": {
                "format": "rle",
                "rle": label_studio_rle(parts.labels == label),
                "brushlabels": [parts.names[label - 1]],
            },
        }
        for label in parts.present
    ]


def cvat_masks(parts: "Parts") -> list[dict[str, Any]]:
    """See `Parts.cvat`."""
    masks = []
    for label in parts.present:
        runs = cvat_rle(parts.labels == label)
        assert runs is not None  # the part has pixels
        masks.append({"label": parts.names[label - 1], **runs})
    return masks


def supervision_detections(parts: "Parts") -> Any:
    """See `Parts.to_supervision`."""
    try:
        import supervision
    except ImportError:
        raise ConfigError(
            "to_supervision needs supervision, which is not installed: pip install supervision"
        ) from None
    labels = np.array(parts.present, int)
    if not labels.size:
        return supervision.Detections.empty()
    return supervision.Detections(
        xyxy=parts.boxes[labels - 1] + 0.5,
        mask=parts.labels == labels[:, None, None],
        confidence=parts.scores[labels - 1],
        class_id=labels,
        data={"class_name": np.array(parts.names)[labels - 1]},
    )
