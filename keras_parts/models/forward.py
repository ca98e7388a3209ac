"""The compiled forward pass of a segmenter: uint8 images in, logits and descriptors out."""

import hashlib
import json

import keras
import numpy as np
from keras import ops

from keras_parts.ops import join_background
from keras_parts.ops.pooling import part_sums


class ForwardPass(keras.Model):
    """A segmenter on uint8 images, with what else of its inside is asked for.

    Takes `(batch, height, width, 3)` uint8 RGB at the network's size. Gives "logits"
    `(batch, h, w, 1 + parts)` float32; with `descriptors`, also "descriptors"
    `(batch, parts, channels)`, the mean of the backbone's deepest features over each part, and
    "masses" `(batch, parts)`, the parts' probabilities summed.

    Args:
        segmenter: a `PartSegmenter`.
        flip: average the probabilities with those of the mirrored image.
        descriptors: give descriptors and masses.
    """

    def __init__(self, segmenter, flip=False, descriptors=False):
        super().__init__(name="forward_pass")
        self.segmenter, self.flip, self.descriptors = segmenter, flip, descriptors
        strides = segmenter.backbone.strides
        self.deepest = max(reversed(strides), key=strides.get)

    def call(self, images):
        images = ops.cast(images, "float32") / 255
        logits, features = self._logits_and_features(images)
        if self.flip:
            mirrored, _ = self._logits_and_features(ops.flip(images, axis=2))
            logits = _mean(logits, ops.flip(mirrored, axis=2))
        if not self.descriptors:
            return {"logits": logits}
        sums, masses = part_sums(ops.softmax(logits, axis=-1)[..., 1:], features)
        means = sums / (masses[..., None] + 1e-7)
        return {"logits": logits, "descriptors": means, "masses": masses}

    def _logits_and_features(self, images):
        inputs = self.segmenter.preprocessing.apply(images)
        features = self.segmenter.backbone(inputs, training=False)
        logits = self.segmenter.head(features, training=False)
        return join_background(logits[..., 1:], logits[..., :1]), features[self.deepest]


def compiled(segmenter, flip=False, descriptors=False):
    """`ForwardPass` as a function of arrays, `forward(images) -> {name: array}`, compiled once
    for each shape of its input."""
    return ForwardPass(segmenter, flip, descriptors).predict_on_batch


def digest(segmenter) -> str:
    """sha256 of a segmenter's configuration and weights, whatever files they came from."""
    found = hashlib.sha256(json.dumps(segmenter.config.to_json(), sort_keys=True).encode())
    for weight in segmenter.weights:
        found.update(weight.path.encode())
        found.update(np.ascontiguousarray(ops.convert_to_numpy(weight), "<f4").tobytes())
    return found.hexdigest()


def on_gpu() -> bool:
    """Whether the backend computes on something else than the CPU."""
    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        return torch.cuda.is_available()
    return any(not name.startswith("cpu") for name in keras.distribution.list_devices())


def _mean(logits, mirrored):
    """Logits of the mean probability of two predictions."""
    both = ops.stack([logits, mirrored])
    both = both - ops.logsumexp(both, axis=-1, keepdims=True)
    return ops.logsumexp(both, axis=0) - float(np.log(2))
