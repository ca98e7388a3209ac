"""Pictures under the parts' colours."""

from keras_parts.inference.writers.base import PictureWriter
from keras_parts.parts import picture_bytes


class OverlayWriter(PictureWriter):
    about = "pictures under the parts' colours"
    needs_image = True

    def content(self, parts):
        return picture_bytes(parts.overlay(), self.suffix)
