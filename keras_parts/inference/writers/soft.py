"""Probabilities of background and parts at every pixel."""

import io

from keras_parts.inference.writers.base import PerImageWriter
from keras_parts.results.parts import Parts


class SoftWriter(PerImageWriter):
    description = "probabilities (npz): float16 (height, width, 1 + parts), first the background"

    def content(self, parts: Parts) -> bytes:
        file = io.BytesIO()
        parts.write_soft(file)
        return file.getvalue()
