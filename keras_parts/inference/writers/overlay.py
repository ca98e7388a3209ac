"""Images with the parts' colours over them."""

from keras_parts.inference.writers.base import PerImageWriter
from keras_parts.results.parts import Parts
from keras_parts.results.pictures import picture_bytes


class OverlayWriter(PerImageWriter):
    description = "images with the parts' colours over them, and the parts' names below"
    needs_image = True

    def __init__(self, name: str, suffix: str, *, legend: bool = True) -> None:
        super().__init__(name, suffix)
        self.legend = legend

    def content(self, parts: Parts) -> bytes:
        return picture_bytes(parts.overlay(legend=self.legend), self.suffix)
