"""Each part cut out of its image."""

from keras_parts.inference.inputs import ImageFile
from keras_parts.inference.writers.base import Writer
from keras_parts.results.cutouts import named_cutouts
from keras_parts.results.parts import Parts
from keras_parts.results.pictures import picture_bytes


class CutoutsWriter(Writer):
    description = (
        "each part cut out (PNG, transparent outside): cutouts/IMAGE/LABEL.png, or "
        "OBJECT-LABEL.png where there are several objects"
    )
    needs_image = True

    def files(self, parts: Parts, file: ImageFile) -> dict[str, bytes]:
        return {
            f"{self.name}/{file.result}/{name}.png": picture_bytes(cutout, ".png")
            for name, cutout in named_cutouts(parts)
        }

    def owns(self, name: str, file: ImageFile) -> bool:
        return name.rpartition("/")[0] == f"{self.name}/{file.result}"
