"""The TFDS builder of CUB-200-2011 with part locations."""

import io
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from keras_parts.data.archives import Archive
from keras_parts.data.readers.cub import CUB, SOURCE
from keras_parts.errors import DataError
from keras_parts.images.decoding import read_size
from keras_parts.images.masks import read_mask

_ARCHIVES = {"images": "CUB_200_2011.tgz", "masks": "segmentations.tgz"}
_URLS = {
    "images": "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz?download=1",
    "masks": "https://data.caltech.edu/records/w9d68-gec53/files/segmentations.tgz?download=1",
}
_CITATION = """@techreport{WahCUB_200_2011,
  title = {The Caltech-UCSD Birds-200-2011 Dataset},
  author = {Wah, C. and Branson, S. and Welinder, P. and Perona, P. and Belongie, S.},
  year = {2011},
  institution = {California Institute of Technology},
  number = {CNS-TR-2011-001}
}"""
_LANDMARKS, _CLASSES = 15, 200


class CubParts(tfds.core.GeneratorBasedBuilder):
    """Original image files, masks by majority of the annotators, boxes, species, 15 keypoints.

    Args:
        archives: folder with both official archives; None to download them.
        kwargs: arguments of every TFDS builder.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}
    pkg_dir_path = Path(__file__).parent

    def __init__(self, *, archives: str | PathLike | None = None, **kwargs: Any):
        self._archives = archives
        super().__init__(**kwargs)

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            description="Caltech-UCSD Birds-200-2011 with part locations.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
                    "segmentation_mask": tfds.features.Image(
                        shape=(None, None, 1),
                        encoding_format="png",
                        doc="255 where more than half of the annotators marked the bird, else 0",
                    ),
                    "bbox": tfds.features.BBoxFeature(),
                    "keypoints": tfds.features.Tensor(
                        shape=(_LANDMARKS, 2),
                        dtype=np.float32,
                        doc="x and y in pixels from the centre of the top-left pixel",
                    ),
                    "visible": tfds.features.Tensor(shape=(_LANDMARKS,), dtype=np.bool_),
                    "label": tfds.features.ClassLabel(num_classes=_CLASSES),
                    "id": tfds.features.Scalar(np.int64, doc="as in images.txt"),
                    "filename": tfds.features.Text(doc="as in images.txt"),
                }
            ),
            supervised_keys=("image", "label"),
            homepage="https://www.vision.caltech.edu/datasets/cub_200_2011/",
            citation=_CITATION,
            license=SOURCE.licence,
            metadata=tfds.core.MetadataDict(),
            disable_shuffling=True,  # the tables in the metadata are in the order of the records
        )

    def _split_generators(self, dl_manager):
        if self._archives is None:
            folders = dl_manager.download_and_extract(_URLS)
        else:
            folders = dl_manager.extract(self._verified(Path(self._archives)))
        root = Path(folders["images"]) / "CUB_200_2011"
        masks = Path(folders["masks"]) / "segmentations"
        self.info.metadata["splits"] = {}
        splits = {split: CUB(root, split, mask_folder=masks) for split in ("train", "test")}
        self.info.metadata["landmarks"] = list(splits["train"].info.landmarks)
        self.info.metadata["categories"] = list(splits["train"].info.categories)
        return {split: self._generate_examples(split, dataset) for split, dataset in splits.items()}

    def _generate_examples(self, split, dataset):
        self.info.metadata["splits"][split] = {
            "names": dataset.ids(),
            "labels": dataset.categories().tolist(),
        }
        for index, name in enumerate(dataset.ids()):
            image, mask = dataset.files(index)
            height, width = read_size(image)
            sample = dataset[index]
            x0, y0, x1, y1 = (sample.box.astype(np.float64) + 0.5).tolist()
            yield (
                index,
                {
                    "image": image.read_bytes(),
                    "segmentation_mask": _png(read_mask(mask, threshold=127)),
                    "bbox": tfds.features.BBox(
                        ymin=y0 / height, xmin=x0 / width, ymax=y1 / height, xmax=x1 / width
                    ),
                    "keypoints": sample.keypoints,
                    "visible": sample.visible,
                    "label": sample.category,
                    "id": dataset.number(index),
                    "filename": f"{name}{image.suffix}",
                },
            )

    def _verified(self, folder: Path) -> dict[str, Path]:
        """The archives in a folder, after comparing their checksums with the official ones."""
        known = {info.filename: (url, info) for url, info in self.url_infos.items()}
        paths = {}
        for what, name in _ARCHIVES.items():
            path = folder / name
            if not path.is_file():
                raise DataError(
                    f"cub_parts: {path} is missing: put both archives there, or give no folder to "
                    "download them"
                )
            url, info = known[name]
            Archive(name, url, int(info.size), info.checksum).check(path)
            paths[what] = path
        return paths


def _png(mask):
    file = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * np.uint8(255)).save(file, "png")
    return file.getvalue()
