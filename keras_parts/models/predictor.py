"""From an image to its parts: all code that segments images uses a `Predictor`.

`prepare` resizes an image to one or more inputs of the network, `predict` computes the outputs for
a batch of inputs of one shape, `look_again` adds an input for each object that these outputs show,
and `combine` turns all outputs for one image into its `Parts`.
"""

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import islice
from os import PathLike
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from keras_parts.addresses import is_address
from keras_parts.errors import ConfigError, DataError
from keras_parts.images.folders import LeftOut, expand_path, holds_several
from keras_parts.images.geometry import ResizeGeometry, resize_geometry
from keras_parts.images.inputs import ImageLike, as_batch, as_images, is_array, is_image, path_of
from keras_parts.images.pasting import Look, PastedLogits
from keras_parts.images.upsampling import Patch, UpsampledLogits
from keras_parts.models.looks import (
    MAX_SEEN_AGAIN,
    FoundObjects,
    Looks,
    Rectangle,
    check_looks,
    fade_of,
    find_objects,
    gets_second_look,
    own_logits,
    without_objects,
    without_specks,
)
from keras_parts.results.objects import ObjectMap
from keras_parts.results.parts import Parts, numbered_names

if TYPE_CHECKING:
    from keras_parts.models.segmenter import PartSegmenter

Outputs = Mapping[str, np.ndarray]
"""The network's outputs for one input, float32: "logits" `(h, w, 1 + parts)` and, with
descriptors, "descriptors" `(parts, channels)` and "masses" `(parts,)`."""

_LOG = logging.getLogger(__name__)
_BATCH_SIZES = {"cpu": (4, 8, 16), "gpu": (8, 16, 32, 64, 128, 256)}
_MIN_GAIN = 1.1
"""Minimum speed of a batch, relative to the best smaller one, that is worth its memory."""
_OVERLAP = 4
"""Neighbouring tiles overlap by 1 / this number of their side."""


@dataclass(frozen=True, eq=False)
class Region:
    """The rectangle of an image that one input of the network contains.

    Attributes:
        top, left: first row and column of the rectangle in the image.
        geometry: of the rectangle in the input.
        fade: weights `(height,)` of its rows and `(width,)` of its columns in the logits of the
            whole image, as tiles overlap.
    """

    top: int
    left: int
    geometry: ResizeGeometry
    fade: tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class PreparedImage:
    """The network's inputs for an image.

    Attributes:
        size: (height, width) of the image in pixels.
        inputs: each `(h, w, 3)` uint8 RGB; several if the image is cut into tiles, or has objects
            that are seen again.
        regions: the `Region` of each input.
        objects: what the first input shows, after `look_again`; None before, and if each image is
            seen once.
        seen_again: the numbers of the objects in the second input and those after it.
        remarks: sentences for the user, as in `keras_parts.images.DecodedImage`.
    """

    size: tuple[int, int]
    inputs: list[np.ndarray]
    regions: list[Region]
    objects: FoundObjects | None = None
    seen_again: tuple[int, ...] = ()
    remarks: tuple[str, ...] = ()


ReadPixels = Callable[[int | None], tuple[np.ndarray, tuple[float, float, float, float] | None]]
"""Reads an image with at least this many pixels on its shorter side, all if None: the pixels
`(height, width, 3)` uint8 RGB, and the box of the whole image in them if they are reduced, see
`keras_parts.images.DecodedImage`."""

_ENOUGH = 4
"""Sides of the network's input in the shorter side of an image that is reduced before; the bicubic
filter then averages the pixels of the reduced image, as it does those of the whole one."""


class PartPredictor(Protocol):
    """The interface of `Predictor` that the engines require.

    Attributes:
        names: of the parts.
        batch_size: largest number of inputs that `predict` takes.
        tile: side in pixels of the tiles that larger images are cut into, or None.
        enough: shorter side in pixels that suffices for the network's input; None if all pixels
            are needed.
        looks: see `Predictor`.
        settings: all settings that results depend on, as JSON values.

    Example:
        >>> import numpy as np
        >>> from keras_parts.models import PartPredictor
        >>> def labels(predictor: PartPredictor, image: np.ndarray) -> np.ndarray:
        ...     prepared = predictor.prepare(image)
        ...     outputs = [predictor.predict([one])[0] for one in prepared.inputs]
        ...     prepared = predictor.look_again(prepared, outputs, lambda enough: (image, None))
        ...     again = prepared.inputs[len(outputs) :]
        ...     outputs += [predictor.predict([one])[0] for one in again]
        ...     return predictor.combine(prepared, outputs).labels
    """

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def batch_size(self) -> int: ...

    @property
    def tile(self) -> int | None: ...

    @property
    def enough(self) -> int | None: ...

    @property
    def looks(self) -> Looks: ...

    @property
    def settings(self) -> Mapping[str, Any]: ...

    def prepare(
        self,
        image: np.ndarray,
        *,
        size: tuple[int, int] | None = None,
        box: tuple[float, float, float, float] | None = None,
    ) -> PreparedImage: ...

    def predict(self, inputs: list[np.ndarray]) -> list[Outputs]: ...

    def look_again(
        self, prepared: PreparedImage, outputs: Sequence[Outputs], read: ReadPixels
    ) -> PreparedImage: ...

    def combine(
        self, prepared: PreparedImage, outputs: Sequence[Outputs], image: np.ndarray | None = None
    ) -> Parts: ...


class Predictor:
    """Prepares images, runs the network on batches, and combines its outputs into `Parts`.

    Args:
        forward: function from `(batch, h, w, 3)` uint8 RGB to a dictionary of float32 arrays:
            "logits" `(batch, h', w', 1 + parts)`, optionally "descriptors"
            `(batch, parts, channels)` and "masses" `(batch, parts)`.
        names: of the parts.
        image_size, resize_mode: of the network's input, see
            `keras_parts.images.geometry.resize_geometry`.
        aligned_corners: whether the logits cover the input with aligned corners, see
            `keras_parts.images.geometry`.
        batch_size: maximum number of inputs per call of `forward`.
        tile: side in pixels, at least 16, of the overlapping squares that larger images are cut
            into; None leaves every image whole.
        looks: 1 segments the whole image only; 2 finds the objects in it, and segments a rectangle
            around each of them again, from the image's own pixels; "auto" does so for objects that
            become larger by it. Tiles are seen once.
        max_objects: maximum number of objects that are seen again, the largest first.
        settings: further settings that results depend on, for the record of a run; JSON values, or
            a function that returns them.

    Raises:
        ConfigError: `batch_size` or `max_objects` is below 1, or `tile` below 16; or `looks` has
            another value, or is 2 with tiles.

    Example:
        >>> import numpy as np
        >>> from keras_parts.models import Predictor
        >>> def forward(images):
        ...     return {"logits": np.zeros((len(images), 3, 3, 1 + 2), np.float32)}
        >>> predictor = Predictor(forward, ("left", "right"), image_size=33)
        >>> predictor.segment(np.zeros((40, 60, 3), np.uint8)).labels.shape
        (40, 60)
    """

    def __init__(
        self,
        forward: Callable[[np.ndarray], Outputs],
        names: Sequence[str],
        image_size: int,
        resize_mode: str = "pad",
        *,
        aligned_corners: bool = True,
        batch_size: int = 8,
        tile: int | None = None,
        looks: Looks = "auto",
        max_objects: int = MAX_SEEN_AGAIN,
        settings: Mapping[str, Any] | Callable[[], Mapping[str, Any]] | None = None,
    ):
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}, expected at least 1")
        if tile is not None and tile < 16:
            raise ConfigError(f"tile is {tile} pixels, expected at least 16")
        if max_objects < 1:
            raise ConfigError(f"max_objects is {max_objects}, expected at least 1")
        check_looks(looks, tile)
        self.forward, self.names = forward, tuple(names)
        self.image_size, self.resize_mode = image_size, resize_mode
        self.aligned_corners = aligned_corners
        self.batch_size, self.tile = batch_size, tile
        self.looks, self.max_objects = looks if tile is None else 1, max_objects
        self.enough = _ENOUGH * image_size if tile is None else None
        self._settings = settings or {}

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """All settings that results depend on, for the record of a run; JSON values."""
        given = self._settings() if callable(self._settings) else self._settings
        return {**given, "tile": self.tile, "looks": self.looks, "max_objects": self.max_objects}

    def prepare(
        self,
        image: np.ndarray,
        *,
        size: tuple[int, int] | None = None,
        box: tuple[float, float, float, float] | None = None,
    ) -> PreparedImage:
        """Resize an image, or its tiles, to the network's input.

        Args:
            image: `(height, width, 3)` uint8 RGB.
            size, box: of a reduced image, which is not cut into tiles: see
                `keras_parts.images.DecodedImage`.
        """
        if size is not None and box is not None:
            geometry = resize_geometry(*size, self.image_size, self.resize_mode)
            network_input = geometry.apply(image, box=box)
            fade = np.ones(size[0], np.float32), np.ones(size[1], np.float32)
            return PreparedImage(size, [network_input], [Region(0, 0, geometry, fade)])
        height, width, _ = image.shape
        inputs, regions = [], []
        for top, bottom, fade_rows in _tiles(height, self.tile):
            for left, right, fade_columns in _tiles(width, self.tile):
                geometry = resize_geometry(
                    bottom - top, right - left, self.image_size, self.resize_mode
                )
                inputs.append(geometry.apply(image[top:bottom, left:right]))
                regions.append(Region(top, left, geometry, (fade_rows, fade_columns)))
        return PreparedImage((height, width), inputs, regions)

    def predict(self, inputs: list[np.ndarray]) -> list[Outputs]:
        """The network's outputs for at most `batch_size` inputs of one shape.

        The batch is always padded to `batch_size`, so that the outputs for an input do not depend
        on the number of inputs.
        """
        return self._predict(inputs, self.batch_size)

    def look_again(
        self, prepared: PreparedImage, outputs: Sequence[Outputs], read: ReadPixels
    ) -> PreparedImage:
        """Add an input for each object that is to be seen again.

        Args:
            prepared: from `prepare`.
            outputs: for its inputs.
            read: reads the image; called only if an object is seen again.

        Returns:
            The prepared image with the further inputs at the end; as it was if `looks` is 1.
        """
        if self.looks == 1:
            return prepared
        objects = find_objects(
            outputs[0]["logits"],
            prepared.regions[0].geometry,
            self.image_size,
            self.resize_mode,
            aligned_corners=self.aligned_corners,
        )
        chosen = [i for i in range(len(objects)) if gets_second_look(objects, i, self.looks)]
        remarks = list(prepared.remarks)
        if len(chosen) > self.max_objects:
            remarks.append(_limit_remark(len(objects), self.max_objects))
        chosen = chosen[: self.max_objects]
        inputs, regions = list(prepared.inputs), list(prepared.regions)
        if chosen:
            boxes = [objects.boxes[i] for i in chosen]
            image, whole = read(self._enough_for(boxes, prepared.size))
            for rectangle in boxes:
                network_input, region = self._second_look(rectangle, prepared.size, image, whole)
                inputs.append(network_input)
                regions.append(region)
        return replace(
            prepared,
            inputs=inputs,
            regions=regions,
            objects=objects,
            seen_again=tuple(1 + i for i in chosen),
            remarks=tuple(remarks),
        )

    def _enough_for(self, boxes: Sequence[Rectangle], size: tuple[int, int]) -> int | None:
        """Shorter side in pixels of an image whose rectangles then suffice for the input."""
        if self.enough is None:
            return None
        shortest = min(min(bottom - top, right - left) for top, left, bottom, right in boxes)
        return -(-self.enough * min(size) // shortest)

    def _second_look(
        self,
        rectangle: Rectangle,
        size: tuple[int, int],
        image: np.ndarray,
        whole: tuple[float, float, float, float] | None,
    ) -> tuple[np.ndarray, Region]:
        """The network's input for a rectangle of an image, and its region."""
        top, left, bottom, right = rectangle
        geometry = resize_geometry(bottom - top, right - left, self.image_size, self.resize_mode)
        if whole is None:
            network_input = geometry.apply(image[top:bottom, left:right])
        else:
            x, y = (whole[2] - whole[0]) / size[1], (whole[3] - whole[1]) / size[0]
            part = (left * x, top * y, right * x, bottom * y)
            box = tuple(side + whole[i % 2] for i, side in enumerate(part))
            network_input = geometry.apply(image, box=box)  # type: ignore[arg-type]
        return network_input, Region(top, left, geometry, fade_of(rectangle, size))

    def combine(
        self, prepared: PreparedImage, outputs: Sequence[Outputs], image: np.ndarray | None = None
    ) -> Parts:
        """The parts of an image, from the outputs for its inputs.

        Args:
            prepared: from `look_again`.
            outputs: one per input.
            image: `(height, width, 3)` uint8 RGB, which overlays of the `Parts` need; or None.
        """
        logits: UpsampledLogits
        object_map = None
        if prepared.objects is None or (not prepared.seen_again and len(prepared.objects) < 2):
            is_tiled = len(outputs) > 1
            patches = [
                self._patch(output["logits"], region, fade=region.fade if is_tiled else None)
                for output, region in zip(outputs, prepared.regions, strict=True)
            ]
            logits = UpsampledLogits(prepared.size, patches)
        else:
            logits = self._pasted(prepared, prepared.objects, outputs)
            object_map = _object_map(prepared, prepared.objects, logits, outputs)
        # The second looks describe the objects, if all are seen again.
        number = len(prepared.objects or ())
        shown = outputs[1:] if number and len(prepared.seen_again) == number else outputs
        descriptors = _mean_descriptors(shown) if "descriptors" in outputs[0] else None
        return Parts(logits, image, self.names, descriptors=descriptors, object_map=object_map)

    def _patch(
        self,
        logits: np.ndarray,
        region: Region,
        fade: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> Patch:
        return Patch.from_output(
            logits,
            region.geometry,
            aligned_corners=self.aligned_corners,
            top=region.top,
            left=region.left,
            fade=fade,
        )

    def _pasted(
        self, prepared: PreparedImage, objects: FoundObjects, outputs: Sequence[Outputs]
    ) -> PastedLogits:
        """The first look, in which the second looks replace the rectangles of their objects."""
        whole, *regions = prepared.regions
        first, *again = (output["logits"] for output in outputs)
        first = without_specks(first, objects)
        looks = []
        for logits, region, number in zip(again, regions, prepared.seen_again, strict=True):
            if len(objects) > 1:
                logits = own_logits(
                    logits,
                    objects,
                    number,
                    region.top,
                    region.left,
                    region.geometry,
                    aligned_corners=self.aligned_corners,
                )
            looks.append(Look(self._patch(logits, region), region.fade, number))
        if looks and len(looks) < len(objects):  # the others count inside the rectangles too
            others = without_objects(first, objects, prepared.seen_again)
            looks.append(Look(self._patch(others, whole), whole.fade, 0))
        owners = objects.owners if len(objects) > 1 else None
        return PastedLogits(self._patch(first, whole), looks, owners)

    def segment(self, image: np.ndarray) -> Parts:
        """The parts of one image `(height, width, 3)` uint8 RGB."""
        return self.segment_all([image])[0]

    def segment_all(self, images: Sequence[np.ndarray]) -> list[Parts]:
        """The parts of images `(height, width, 3)` uint8 RGB of any sizes.

        Inputs of one shape share batches. A batch is padded to a power of two, at most to
        `batch_size`, so that the network is compiled for few shapes.
        """
        prepared = [self.prepare(image) for image in images]
        outputs = self._predict_all([each.inputs for each in prepared])
        if self.looks != 1:
            prepared = [
                self.look_again(each, found, partial(_read_array, image))
                for each, found, image in zip(prepared, outputs, images, strict=True)
            ]
            self._warn_of_limit(prepared)
            again = self._predict_all([each.inputs[1:] for each in prepared])
            outputs = [first + second for first, second in zip(outputs, again, strict=True)]
        return [self.combine(*each) for each in zip(prepared, outputs, images, strict=True)]

    def _warn_of_limit(self, prepared: Sequence[PreparedImage]) -> None:
        count = sum(bool(each.remarks) for each in prepared)
        if count:
            _LOG.warning(
                "%d image%s more than %d objects: only the largest are seen again (max_objects)",
                *(count, " shows" if count == 1 else "s show", self.max_objects),
            )

    def _predict_all(self, inputs: Sequence[Sequence[np.ndarray]]) -> list[list[Outputs]]:
        """The outputs for all inputs of several images."""
        outputs: list[list[Outputs]] = [[{}] * len(each) for each in inputs]
        by_shape: dict[tuple[int, ...], list[tuple[int, int]]] = {}
        for number, each in enumerate(inputs):
            for index, one in enumerate(each):
                by_shape.setdefault(one.shape, []).append((number, index))
        for same in by_shape.values():
            size = min(self.batch_size, 1 << (len(same) - 1).bit_length())
            for start in range(0, len(same), size):
                chosen = same[start : start + size]
                found = self._predict([inputs[n][i] for n, i in chosen], size)
                for (number, index), output in zip(chosen, found, strict=True):
                    outputs[number][index] = output
        return outputs

    def _predict(self, inputs: list[np.ndarray], size: int) -> list[Outputs]:
        """Outputs for inputs of one shape, in one batch that is padded to `size`."""
        batch = np.stack(inputs + inputs[-1:] * (size - len(inputs)))
        outputs = self.forward(batch)
        return [{name: values[i] for name, values in outputs.items()} for i in range(len(inputs))]


def create_predictor(
    segmenter: "PartSegmenter",
    batch_size: int | str = 8,
    *,
    flip: bool = False,
    tile: int | None = None,
    descriptors: bool = False,
    looks: Looks = "auto",
    max_objects: int = MAX_SEEN_AGAIN,
    compiled: bool = True,
) -> Predictor:
    """Create the `Predictor` of a `PartSegmenter`, with its compiled forward pass.

    Args:
        segmenter: the segmenter.
        batch_size: maximum number of inputs per call; "auto" measures several, see
            `fastest_batch_size`.
        flip: average the probabilities with those of the mirrored image, at twice the cost.
        tile, looks, max_objects: see `Predictor`.
        descriptors: also compute the mean of the backbone's deepest features over each part.
        compiled: False is quicker for one or two batches, see
            `keras_parts.models.forward.compile_forward`.

    Raises:
        ConfigError: see `Predictor`.

    Example:
        >>> from keras_parts import data, zoo
        >>> from keras_parts.models import create_predictor
        >>> predictor = create_predictor(zoo.load("toy"), batch_size=1)
        >>> image = data.load("toy", "test", count=1)[0].image
        >>> predictor.segment(image).labels.shape == image.shape[:2]
        True
    """
    from keras_parts.models.architectures import architecture_of
    from keras_parts.models.forward import digest

    config = segmenter.config
    forward = segmenter.compiled_forward(flip=flip, descriptors=descriptors, compiled=compiled)
    if isinstance(batch_size, str):
        batch_size = fastest_batch_size(forward, config.image_size)
    return Predictor(
        forward,
        segmenter.part_names or numbered_names(segmenter.num_parts),
        config.image_size,
        config.resize_mode,
        aligned_corners=architecture_of(config.architecture).aligned_corners,
        batch_size=batch_size,
        tile=tile,
        looks=looks,
        max_objects=max_objects,
        settings=lambda: {
            "model_sha256": digest(segmenter),
            "precision": segmenter.dtype_policy.name,
            "flip": flip,
        },
    )


def segment_inputs(
    predictor: Predictor, images: ImageLike | Iterable[ImageLike]
) -> Parts | list[Parts] | Iterator[Parts]:
    """The parts of one image, of several, or of a stream; see `PartSegmenter.segment`."""
    if isinstance(images, str | PathLike) and not is_address(images) and holds_several(images):
        images = _files(os.fspath(images))
    if isinstance(images, list | tuple):
        return list(_stream(predictor, images))
    if is_array(images) and len(images.shape) == 4:
        return list(_stream(predictor, as_batch(images)))
    if is_image(images) or isinstance(images, Mapping) or not isinstance(images, Iterable):
        return next(_stream(predictor, [images]))
    return _stream(predictor, images)


def _files(path: str) -> list[str]:
    """The images of a folder or pattern."""
    left_out = LeftOut()
    root, files = expand_path(path, left_out=left_out)
    if not files:
        raise DataError(
            f"{path}: there are no images" + (f" ({left_out})" if str(left_out) else ""), path=path
        )
    if str(left_out):
        _LOG.warning("%s: %s", path, left_out)
    return [os.path.join(root, *file.split("/")) for file in files]


def _stream(predictor: Predictor, images: Iterable[Any]) -> Iterator[Parts]:
    """The parts of images and batches, as many at once as the predictor takes."""
    found = ((path_of(image), pixels) for image in images for pixels in as_images(image))
    while chosen := list(islice(found, predictor.batch_size)):
        segmented = predictor.segment_all([pixels for _, pixels in chosen])
        for (path, _), parts in zip(chosen, segmented, strict=True):
            yield replace(parts, path=path)


def fastest_batch_size(forward: Callable[[np.ndarray], Outputs], image_size: int) -> int:
    """Measure the batch size beyond which larger batches gain less than a tenth in images/s.

    The sizes are 4 to 16 on a CPU and 8 to 256 on a GPU; the measurement ends where the device's
    memory does.

    Args:
        forward: see `Predictor`.
        image_size: side of its input in pixels.
    """
    from keras_parts.models.forward import on_gpu

    best, best_rate = 1, 0.0
    for count in _BATCH_SIZES["gpu" if on_gpu() else "cpu"]:
        batch = np.zeros((count, image_size, image_size, 3), np.uint8)
        try:
            forward(batch)
            start = time.perf_counter()
            for _ in range(2):
                forward(batch)
        except Exception:  # backends share no exception class for full memory
            break
        rate = count / (time.perf_counter() - start)
        if rate < _MIN_GAIN * best_rate:
            break
        best, best_rate = count, rate
    return best


def _tiles(length: int, tile: int | None) -> Iterator[tuple[int, int, np.ndarray]]:
    """(start, stop, weights) of overlapping sections of an axis, each of at most `tile` pixels; the
    weights of each pixel sum to 1 over the sections."""
    if tile is None or length <= tile:
        yield 0, length, np.ones(length, np.float32)
        return
    shared = tile // _OVERLAP
    count = -(-(length - shared) // (tile - shared))
    starts = [round(i * (length - tile) / (count - 1)) for i in range(count)]
    ramps = []
    for start in starts:
        inside = np.arange(tile) + 0.5
        rising = inside / shared if start else np.full(tile, np.inf)
        falling = (tile - inside) / shared if start + tile < length else np.full(tile, np.inf)
        ramps.append(np.minimum(1, np.minimum(rising, falling)))
    total = np.zeros(length)
    for start, ramp in zip(starts, ramps, strict=True):
        total[start : start + tile] += ramp
    for start, ramp in zip(starts, ramps, strict=True):
        yield start, start + tile, (ramp / total[start : start + tile]).astype(np.float32)


def _read_array(image: np.ndarray, enough: int | None) -> tuple[np.ndarray, None]:
    """`ReadPixels` of an image in memory."""
    return image, None


def _limit_remark(found: int, most: int) -> str:
    largest = "largest one is" if most == 1 else f"{most} largest ones are"
    return f"shows {found} objects: only the {largest} seen again (max_objects)"


def _object_map(
    prepared: PreparedImage,
    objects: FoundObjects,
    logits: PastedLogits,
    outputs: Sequence[Outputs],
) -> ObjectMap | None:
    """Which object each pixel belongs to; None if there is only one."""
    if len(objects) < 2:
        return None
    descriptors = None
    if "descriptors" in outputs[0]:
        shown = dict(zip(prepared.seen_again, outputs[1:], strict=True))
        descriptors = np.stack(
            [shown.get(number, outputs[0])["descriptors"] for number in objects.numbers]
        )
    return ObjectMap(logits.owners, len(objects), descriptors)


def _mean_descriptors(outputs):
    """`(parts, channels)`: mean of the tiles' descriptors, weighted by each part's mass in each
    tile."""
    weights = np.stack([output["masses"] for output in outputs])[..., None]
    descriptors = np.stack([output["descriptors"] for output in outputs])
    return ((weights * descriptors).sum(0) / weights.sum(0)).astype(np.float32)
