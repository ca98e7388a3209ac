"""The compiled forward pass of a segmenter: uint8 images in, logits and descriptors out."""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from keras_parts.models.saved_config import digest_values
from keras_parts.ops.pooling import part_sums

if TYPE_CHECKING:
    from keras_parts.models.segmenter import PartSegmenter


class ForwardPass(keras.Model):
    """A segmenter on uint8 images, optionally with flip averaging and descriptors.

    Its input is `(batch, height, width, 3)` uint8 RGB of the network's input size, its output a
    dictionary of float32 tensors: "logits" `(batch, h, w, 1 + parts)` and, with `descriptors`,
    "descriptors" `(batch, parts, channels)`, the mean of the backbone's deepest features over each
    part, and "masses" `(batch, parts)`, the sum of each part's probabilities.

    Args:
        segmenter: a `PartSegmenter`.
        flip: average the probabilities with those of the mirrored image.
        descriptors: also compute descriptors and masses.
    """

    def __init__(
        self, segmenter: "PartSegmenter", *, flip: bool = False, descriptors: bool = False
    ):
        super().__init__(name="forward_pass")
        self.segmenter, self.flip, self.descriptors = segmenter, flip, descriptors
        strides = segmenter.backbone.strides
        self.deepest = max(reversed(strides), key=strides.get)

    def call(self, images: Any) -> dict[str, Any]:
        logits, features = self.segmenter.logits_and_features(images)
        if self.flip:
            mirrored, _ = self.segmenter.logits_and_features(ops.flip(images, axis=2))
            logits = _mean_logits(logits, ops.flip(mirrored, axis=2))
        if not self.descriptors:
            return {"logits": logits}
        parts = ops.softmax(logits, axis=-1)[..., 1:]
        sums, masses = part_sums(parts, features[self.deepest])
        means = sums / (masses[..., None] + 1e-7)
        return {"logits": logits, "descriptors": means, "masses": masses}


def compile_forward(
    segmenter: "PartSegmenter",
    *,
    flip: bool = False,
    descriptors: bool = False,
    compiled: bool = True,
) -> Callable[[np.ndarray], Mapping[str, np.ndarray]]:
    """`ForwardPass` as a function of arrays, `forward(images) -> {name: array}`; each shape of
    its input is compiled once.

    Args:
        segmenter, flip, descriptors: see `ForwardPass`.
        compiled: False computes operation by operation on TensorFlow, where compilation takes as
            long as five such passes; other backends compile quickly, or not at all.
    """
    forward = ForwardPass(segmenter, flip=flip, descriptors=descriptors)
    if compiled or keras.backend.backend() != "tensorflow":
        return forward.predict_on_batch

    def compute(images: np.ndarray) -> Mapping[str, np.ndarray]:
        outputs = forward(images)
        return {name: ops.convert_to_numpy(values) for name, values in outputs.items()}

    return compute


def digest(segmenter: "PartSegmenter") -> str:
    """sha256 of a segmenter's configuration and weights; it does not depend on their files."""
    values = digest_values(segmenter.config.to_json())
    found = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
    for weight in segmenter.weights:
        found.update(weight.path.encode())
        found.update(np.ascontiguousarray(ops.convert_to_numpy(weight), "<f4").tobytes())
    return found.hexdigest()


def on_gpu() -> bool:
    """Whether the backend has a device other than the CPU."""
    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        return torch.cuda.is_available()
    return any(not name.startswith("cpu") for name in keras.distribution.list_devices())


def _mean_logits(logits, mirrored):
    """Logits of the mean of two predictions' probabilities."""
    both = ops.stack([logits, mirrored])
    both = both - ops.logsumexp(both, axis=-1, keepdims=True)
    return ops.logsumexp(both, axis=0) - float(np.log(2))
