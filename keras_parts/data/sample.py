"""`Sample`: one image with its annotations."""

from dataclasses import KW_ONLY, dataclass
from typing import NoReturn

import numpy as np

from keras_parts.errors import DataError


@dataclass(frozen=True, eq=False, repr=False)
class Sample:
    """One image with its annotations; absent annotations are None.

    Coordinates are x (right) and y (down) in pixels. (0, 0) is the *centre* of the top-left pixel,
    so the box of the whole image is (-0.5, -0.5, width - 0.5, height - 0.5).

    Args:
        id: name of the sample, unique in its data set.
        image: (height, width, 3) uint8 RGB.
        foreground: (height, width) bool, True on the object.
        keypoints: (landmarks, 2) float32, x and y; finite even for landmarks that are not visible.
        visible: (landmarks,) bool; given exactly if `keypoints` are given.
        box: (4,) float32, x0, y0, x1, y1: the sides of the object's box, with x0 < x1 and y0 < y1.
        part_labels: (height, width) uint8, 0 on the background.
        category: index of the object's class, from 0.

    Raises:
        DataError: a field has the wrong shape, dtype or range; the message names the sample.

    Example:
        >>> import numpy as np
        >>> from keras_parts.data import Sample
        >>> sample = Sample("sparrow", np.zeros((48, 64, 3), np.uint8), category=3)
        >>> sample.size
        (48, 64)
        >>> sample
        <Sample 'sparrow', 48 x 64 pixels, category 3>
    """

    id: str
    image: np.ndarray
    _: KW_ONLY
    foreground: np.ndarray | None = None
    keypoints: np.ndarray | None = None
    visible: np.ndarray | None = None
    box: np.ndarray | None = None
    part_labels: np.ndarray | None = None
    category: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not self.id:
            raise DataError(f"a sample's id must be a non-empty string, not {self.id!r}")
        self._check_array("image", np.uint8, (None, None, 3))
        if 0 in self.image.shape:
            self._fail(f"the image is empty: {self.image.shape}")
        self._check_array("foreground", np.bool_, self.size)
        self._check_array("part_labels", np.uint8, self.size)
        self._check_keypoints()
        self._check_box()
        if self.category is not None:
            whole = isinstance(self.category, int | np.integer)
            if isinstance(self.category, bool) or not whole or self.category < 0:
                self._fail(f"category must be a whole number from 0, not {self.category!r}")

    def __repr__(self) -> str:
        height, width = self.size
        arrays = ("foreground", "keypoints", "box", "part_labels")
        words = [f"{height} x {width} pixels"]
        words += [name.replace("_", " ") for name in arrays if getattr(self, name) is not None]
        words += [] if self.category is None else [f"category {self.category}"]
        return f"<Sample {self.id!r}, {', '.join(words)}>"

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the image in pixels."""
        return self.image.shape[0], self.image.shape[1]

    def _check_keypoints(self) -> None:
        if (self.keypoints is None) != (self.visible is None):
            self._fail("keypoints and visible must be given together")
        if self.keypoints is None:
            return
        self._check_array("keypoints", np.float32, (None, 2))
        self._check_array("visible", np.bool_, (len(self.keypoints),))
        if not np.isfinite(self.keypoints).all():
            self._fail("keypoints must be finite, even where they are not visible")

    def _check_box(self) -> None:
        if self.box is None:
            return
        self._check_array("box", np.float32, (4,))
        x0, y0, x1, y1 = self.box
        if not (np.isfinite(self.box).all() and x0 < x1 and y0 < y1):
            self._fail(f"box must be finite with x0 < x1 and y0 < y1, not {self.box.tolist()}")

    def _check_array(self, field: str, dtype: type, shape: tuple[int | None, ...]) -> None:
        array = getattr(self, field)
        if array is None and field != "image":
            return
        if not isinstance(array, np.ndarray):
            self._fail(f"{field} must be a numpy array, not {type(array).__name__}")
        if array.dtype != dtype:
            self._fail(f"{field} must be {np.dtype(dtype).name}, not {array.dtype.name}")
        matches = len(array.shape) == len(shape) and all(
            expected in (None, found) for expected, found in zip(shape, array.shape, strict=True)
        )
        if not matches:
            expected = ", ".join("*" if side is None else str(side) for side in shape)
            self._fail(f"{field} must have the shape ({expected}), not {array.shape}")

    def _fail(self, problem: str) -> NoReturn:
        raise DataError(f"sample {self.id!r}: {problem}")
