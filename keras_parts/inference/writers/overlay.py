"""Images with the parts' colours over them."""

from keras_parts.inference.writers.base import PerImageWriter
from keras_parts.results.parts import Parts
from keras_parts.results.pictures import picture_bytes


class OverlayWriter(PerImageWriter):
    description = "images with the parts' colours and names over them, and a legend below"
    needs_image = True

    def __init__(self, name: str, suffix: str, *, names: bool = True) -> None:
        super().__init__(name, suffix)
        self.has_names = names

    def content(self, parts: Parts) -> bytes:
        return picture_bytes(
            parts.overlay(names=self.has_names, legend=self.has_names), self.suffix
        )
