"""Label images."""

from keras_parts.inference.writers.base import PerImageWriter
from keras_parts.results.parts import Parts
from keras_parts.results.pictures import picture_bytes


class IndexedWriter(PerImageWriter):
    description = "label images (PNG with a palette): 0 is the background, k is part k"

    def content(self, parts: Parts) -> bytes:
        return picture_bytes(parts.indexed(), self.suffix)
