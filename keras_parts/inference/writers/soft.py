"""Probabilities of background and parts at every pixel."""

import io

from keras_parts.inference.writers.base import PictureWriter


class SoftWriter(PictureWriter):
    about = "probabilities (npz): float16 (height, width, 1 + parts), channel 0 the background"

    def content(self, parts):
        file = io.BytesIO()
        parts.write_soft(file)
        return file.getvalue()
