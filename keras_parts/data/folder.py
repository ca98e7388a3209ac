"""A folder of one's own images, with masks in a parallel folder, in their alpha, or without any."""

import hashlib
import os
import re
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Literal

import numpy as np
from tqdm import tqdm

from keras_parts.data.crops import image_box, mask_box
from keras_parts.data.dataset import Dataset, DatasetInfo, hold_out
from keras_parts.data.sample import Sample
from keras_parts.errors import ConfigError, DataError
from keras_parts.images import (
    IMAGE_SUFFIXES,
    has_alpha,
    read_alpha,
    read_image,
    read_mask,
    read_size,
)

SPLITS = ("train", "test", "fit", "validation", "all")
ALPHA = "alpha"
_PROBLEMS_SHOWN = 10
_OPAQUE = 127  # an alpha above this is on the object


class Folder(Dataset):
    """The images of a folder; see `load_folder`.

    Attributes:
        left_out: what is wrong with each image that `skip_bad` left out.
    """

    def __init__(
        self,
        root: str | PathLike,
        masks: str | PathLike | None = None,
        skip_bad: bool = False,
        verify: Literal["headers", "pixels"] = "headers",
    ):
        if verify not in ("headers", "pixels"):
            raise ConfigError(f"verify must be headers or pixels, not {verify!r}")
        self._root = _existing(root, "the images")
        self._alpha = masks == ALPHA
        self._masks = None if masks is None or self._alpha else _existing(masks, "the masks")
        self.info = DatasetInfo(
            name="folder", licence="the owner's", how_to_obtain="images of one's own"
        )
        self._paths = find_images(self._root, without=self._masks)
        if not self._paths:
            raise DataError(
                f"{self._root} holds no images: looked in it and its folders for files ending in "
                + ", ".join(sorted(IMAGE_SUFFIXES))
            )
        self._mask_paths = {} if self._masks is None else _by_stem(self._masks)
        look = self._look_at_header if verify == "headers" else self._sample
        self.left_out = self._verify(look, skip_bad)

    def __len__(self):
        return len(self._paths)

    def read(self, index):
        return self._sample(self._paths[index])

    def ids(self):
        return [path.as_posix() for path in self._paths]

    def categories(self):
        return np.full(len(self), -1, np.int64)

    def fingerprint(self):
        """Goes by names, sizes and times of the files, not by their content."""
        digest = hashlib.sha256(f"folder {self._alpha}".encode())
        for path in self._paths:
            files = [self._root / path]
            if self._masks is not None:
                files.append(self._mask_of(path))
            stats = [(one.stat().st_size, one.stat().st_mtime_ns) for one in files]
            digest.update(f"\n{path.as_posix()} {stats}".encode())
        return digest.hexdigest()

    def _sample(self, path):
        image, foreground = read_image(self._root / path), self._foreground(path)
        if foreground is not None and foreground.shape != image.shape[:2]:
            raise DataError(_sizes_differ(image.shape, foreground.shape, self._mask_of(path)))
        box = None if foreground is None else mask_box(foreground)
        return Sample(
            id=path.as_posix(),
            image=image,
            foreground=foreground,
            box=image_box(*image.shape[:2]) if box is None else box,
        )

    def _foreground(self, path):
        if self._alpha:
            alpha = read_alpha(self._root / path)
            if alpha is None:
                raise DataError(_no_alpha(self._root / path))
            return alpha > _OPAQUE
        return None if self._masks is None else read_mask(self._mask_of(path))

    def _mask_of(self, path):
        found = self._mask_paths.get(_stem(path), [])
        if not found:
            raise DataError(
                f"{self._root / path}: no mask, expected {self._masks / path.with_suffix('.png')}"
            )
        if len(found) > 1:
            names = ", ".join(mask.name for mask in found)
            raise DataError(f"{self._root / path}: more than one mask in {self._masks}: {names}")
        return found[0]

    def _look_at_header(self, path):
        size = read_size(self._root / path)
        if self._alpha and not has_alpha(self._root / path):
            raise DataError(_no_alpha(self._root / path))
        if self._masks is not None:
            mask_path = self._mask_of(path)
            mask_size = read_size(mask_path)
            if mask_size != size:
                raise DataError(_sizes_differ(size, mask_size, mask_path))

    def _verify(self, look, skip_bad):
        """Leaves the paths that `look` accepts; returns what it says of the others."""
        with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
            answers = pool.map(partial(_problem, look), self._paths)
            answers = list(tqdm(answers, "checking images", len(self._paths), delay=2, leave=False))
        problems = tuple(answer for answer in answers if answer is not None)
        if not problems:
            return problems
        summary = _summary(problems, len(self._paths))
        self._paths = [
            path for path, answer in zip(self._paths, answers, strict=True) if answer is None
        ]
        if not self._paths:
            raise DataError(f"no image can be used: {summary}")
        if not skip_bad:
            raise DataError(f"{summary}\nMend or remove them, or leave them out with --skip-bad")
        warnings.warn(f"left out: {summary}", stacklevel=2)
        return problems


def load_folder(
    split: str,
    data_dir: str | PathLike,
    masks: str | PathLike | None = None,
    skip_bad: bool = False,
    verify: Literal["headers", "pixels"] = "headers",
) -> Dataset:
    """The images of a folder and its folders, in natural order (2 before 10).

    Hidden files and folders are passed over, and so are files whose suffix is not in
    `IMAGE_SUFFIXES`. Every file's header is looked at once, here.

    Args:
        split: "train", "test" or "all" (each the whole folder), or "fit" and "validation", a
            fixed partition of it (`hold_out`).
        data_dir: the folder.
        masks: a folder with a mask an image, of the same relative name up to the suffix (see
            `read_mask` for what a mask may be); or "alpha": the object is where the image itself
            is more than half opaque; or None, there are no masks.
        skip_bad: leave out images with a problem, with one warning that counts them.
        verify: "headers" finds files that are missing, no pictures or differ in size; "pixels"
            also decodes each once, and so finds those that are cut short or damaged.

    Returns:
        Samples with image, foreground (None without masks) and box: around the mask, or around
        the whole image where there is no mask or it is empty. The id is the relative path.

    Raises:
        ConfigError: the split or `verify` is unknown.
        DataError: a folder is missing or without images; or files have problems, the first ten
            are listed.
    """
    if split not in SPLITS:
        raise ConfigError(f"folder has the splits {', '.join(SPLITS)}, not {split!r}")
    dataset = Folder(data_dir, masks, skip_bad, verify)
    if split in ("fit", "validation"):
        fit, validation = hold_out(dataset)
        return fit if split == "fit" else validation
    return dataset


def find_images(root: Path, without: Path | None = None) -> list[Path]:
    """Image files below a folder, as paths relative to it, in natural order.

    Args:
        root: the folder.
        without: a folder that is passed over.
    """
    found = []
    for folder, folders, files in os.walk(root):
        folder = Path(folder)
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and not (without and (folder / name).samefile(without))
        ]
        found += [
            (folder / name).relative_to(root)
            for name in files
            if not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES
        ]
    return sorted(found, key=_natural)


def _natural(path):
    """Key that orders numbers inside names by their value; equal names by their spelling."""
    words = re.split(r"(\d+)", path.as_posix())
    words[1::2] = map(int, words[1::2])
    return [word if isinstance(word, int) else word.casefold() for word in words], path.as_posix()


def _existing(folder, what):
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder for {what}")
    return folder


def _stem(path):
    return path.with_suffix("").as_posix()


def _by_stem(masks):
    """{relative name without suffix: [files]} of a folder of masks."""
    found = {}
    for path in find_images(masks):
        found.setdefault(_stem(path), []).append(masks / path)
    return found


def _problem(look, path):
    try:
        look(path)
    except DataError as error:
        return str(error)
    return None


def _no_alpha(path):
    return f"{path}: no transparency to take a mask from"


def _sizes_differ(image_size, mask_size, mask_path):
    return (
        f"{mask_path}: the mask has {mask_size[1]} x {mask_size[0]} pixels, "
        f"its image {image_size[1]} x {image_size[0]}"
    )


def _summary(problems, total):
    shown = "".join(f"\n  {problem}" for problem in problems[:_PROBLEMS_SHOWN])
    more = len(problems) - _PROBLEMS_SHOWN
    tail = f"\n  and {more} more" if more > 0 else ""
    return f"{len(problems)} of {total} images have a problem:{shown}{tail}"
