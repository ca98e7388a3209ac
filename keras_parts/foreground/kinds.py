"""Whether the objects of a data set are of two kinds."""

import numpy as np

from keras_parts.extras import import_from_extra
from keras_parts.ops.kmeans import kmeans

_TWO_KINDS = 0.24
"""Silhouette of two groups of objects from which on they may be two kinds. Birds, faces and people
in clothes have at most 0.19 each, drawn animals at most 0.23; mixtures in which one kind is a
quarter or a half have 0.24 to 0.44."""
_ENOUGH = 30
"""Objects without which kinds are not looked for."""
_RESTARTS = 4


def several_kinds(means: np.ndarray) -> str:
    """A sentence if the mean features of objects form two groups, or "".

    Args:
        means: `(objects, channels)`, the mean feature of each object.

    Example:
        >>> import numpy as np
        >>> from keras_parts.foreground.kinds import several_kinds
        >>> random = np.random.default_rng(0)
        >>> birds, faces = random.normal([[[5.0, 0, 0, 0]], [[0, 5.0, 0, 0]]], 0.3, (2, 20, 4))
        >>> several_kinds(np.concatenate([birds, faces]))[:48]
        'There may be two kinds of objects, in 20 and 20 '
    """
    if len(means) < _ENOUGH:
        return ""
    silhouette = import_from_extra("sklearn.metrics", "train").silhouette_score
    directions = _unit(_unit(means) - _unit(means).mean(0))
    centres = kmeans(directions, 2, restarts=_RESTARTS, max_threads=1).centres
    groups = ((directions[:, None] - centres) ** 2).sum(-1).argmin(-1)
    if len(np.unique(groups)) < 2 or silhouette(directions, groups) < _TWO_KINDS:
        return ""
    first = int((groups == groups[0]).sum())
    return (
        f"There may be two kinds of objects, in {min(first, len(means) - first)} and "
        f"{max(first, len(means) - first)} images: all objects share the parts, so train each kind "
        "by itself"
    )


def _unit(vectors):
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
