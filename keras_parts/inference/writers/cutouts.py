"""Each part cut out of its picture."""

from keras_parts.inference.writers.base import Writer
from keras_parts.results.pictures import picture_bytes


class CutoutsWriter(Writer):
    about = "each part cut out (PNG, transparent outside): cutouts/PICTURE/LABEL.png"
    needs_image = True

    def files(self, parts, file):
        return {
            f"{self.name}/{file.result}/{label}.png": picture_bytes(picture, ".png")
            for label, picture in parts.cutouts().items()
        }
