"""`Sample`: one image and what is known of it. What is absent is None."""

from dataclasses import dataclass

import numpy as np

from keras_parts.errors import DataError


@dataclass(frozen=True, eq=False)
class Sample:
    """One image with its truth.

    Coordinates are x (right) and y (down) in pixels, and (0, 0) is the *centre* of the top-left
    pixel, so that the whole image is the box (-0.5, -0.5, width - 0.5, height - 0.5).

    Args:
        id: name of the sample, unique in its data set.
        image: (height, width, 3) uint8 RGB.
        foreground: (height, width) bool, True on the object.
        keypoints: (landmarks, 2) float32, x and y. Finite also where they are not visible.
        visible: (landmarks,) bool; given exactly when the keypoints are.
        box: (4,) float32, x0, y0, x1, y1: the sides of the object's box, x0 < x1 and y0 < y1.
        part_labels: (height, width) uint8, 0 on the background.
        category: the object's class, from 0.

    Raises:
        DataError: a field has another shape, dtype or range; the message names the sample.
    """

    id: str
    image: np.ndarray
    foreground: np.ndarray | None = None
    keypoints: np.ndarray | None = None
    visible: np.ndarray | None = None
    box: np.ndarray | None = None
    part_labels: np.ndarray | None = None
    category: int | None = None

    def __post_init__(self):
        if not isinstance(self.id, str) or not self.id:
            raise DataError(f"a sample's id must be a text that is not empty, not {self.id!r}")
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

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the image in pixels."""
        return self.image.shape[:2]

    def _check_keypoints(self):
        if (self.keypoints is None) != (self.visible is None):
            self._fail("keypoints and visible must be given together")
        if self.keypoints is None:
            return
        self._check_array("keypoints", np.float32, (None, 2))
        self._check_array("visible", np.bool_, (len(self.keypoints),))
        if not np.isfinite(self.keypoints).all():
            self._fail("keypoints must be finite, also where they are not visible")

    def _check_box(self):
        if self.box is None:
            return
        self._check_array("box", np.float32, (4,))
        x0, y0, x1, y1 = self.box
        if not (np.isfinite(self.box).all() and x0 < x1 and y0 < y1):
            self._fail(f"box must be x0 < x1 and y0 < y1, not {self.box.tolist()}")

    def _check_array(self, field, dtype, shape):
        array = getattr(self, field)
        if array is None and field != "image":
            return
        if not isinstance(array, np.ndarray):
            self._fail(f"{field} must be a numpy array, not {type(array).__name__}")
        if array.dtype != dtype:
            self._fail(f"{field} must be {np.dtype(dtype).name}, not {array.dtype.name}")
        fits = len(array.shape) == len(shape) and all(
            wanted in (None, found) for wanted, found in zip(shape, array.shape, strict=True)
        )
        if not fits:
            wanted = ", ".join("*" if side is None else str(side) for side in shape)
            self._fail(f"{field} must have the shape ({wanted}), not {array.shape}")

    def _fail(self, problem):
        raise DataError(f"sample {self.id!r}: {problem}")
