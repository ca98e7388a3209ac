"""Pictures under the parts' colours."""

from keras_parts.inference.writers.base import PictureWriter
from keras_parts.results.pictures import picture_bytes


class OverlayWriter(PictureWriter):
    about = "pictures under the parts' colours, with the parts' names below if they have any"
    needs_image = True

    def __init__(self, name, suffix, legend=True):
        super().__init__(name, suffix)
        self.legend = legend

    def content(self, parts):
        return picture_bytes(parts.overlay(legend=self.legend), self.suffix)
