"""Segment a video: an overlaid video and a table of the parts in each frame."""

import io
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from keras_parts.errors import ConfigError
from keras_parts.files import atomic_path
from keras_parts.images.video import Frame, open_video, step_for, video_writer
from keras_parts.inference.smoothing import Smoother
from keras_parts.inference.writers.table import csv_rows
from keras_parts.models.predictor import Predictor
from keras_parts.results.legend import with_legend
from keras_parts.results.parts import Parts, numbered_names

VIDEO_FILE, TABLE_FILE = "overlay.mp4", "parts.csv"
COLUMNS = ("frame", "time", "part", "name", "share", "x", "y")
_FRAMES = 8
"""Maximum number of frames in memory."""


@dataclass(frozen=True)
class VideoSummary:
    """What was made of a video.

    Attributes:
        video: path of the video.
        overlay, table: the files with the results.
        frames: number of frames that were segmented.
        every: there is one of them in so many frames of the video.

    Example:
        >>> from keras_parts.inference import VideoSummary
        >>> made = VideoSummary("clip.mp4", "parts/overlay.mp4", "parts/parts.csv", 250, every=1)
        >>> made.to_json()["frames"]
        250
    """

    video: str
    overlay: str
    table: str
    frames: int
    every: int

    def to_json(self) -> dict[str, Any]:
        """The attributes as JSON values."""
        return asdict(self)


def segment_video(
    predictor: Predictor,
    video: str | PathLike[str],
    output: str | PathLike[str],
    *,
    every: int | None = None,
    fps: float | None = None,
    momentum: float = 0.8,
    overwrite: bool = False,
    progress: bool = True,
) -> VideoSummary:
    """Segment the frames of a video, one after the other.

    The logits of a frame are averaged with those of the frames before where the picture stays the
    same, see `keras_parts.inference.smoothing.Smoother`, so that labels do not flicker.

    Args:
        predictor: see `keras_parts.models.create_predictor`.
        video: path of the video. Its sound is left out.
        output: folder for `overlay.mp4`, the video with the parts drawn over it, and `parts.csv`,
            with a row for each part that a frame shows: number of the frame, its time in seconds,
            label and name of the part, its share of the frame's pixels from 0 to 1, and its centre
            x and y in pixels.
        every: segment each `every`-th frame; the others are left out.
        fps: instead of `every`, segment at most so many frames a second.
        momentum: share of the frames before in the average, from 0 (none) to below 1.
        overwrite: replace results in the folder.
        progress: show a bar with the time left on stderr.

    Raises:
        ConfigError: PyAV is not installed (extra `video`), the folder has results, or a setting is
            outside its range.
        DataError: the video cannot be read, or has no frames. No result is written.

    Example:
        >>> from keras_parts import zoo
        >>> from keras_parts.inference import segment_video
        >>> from keras_parts.models import create_predictor
        >>> predictor = create_predictor(zoo.load("toy"))
        >>> segment_video(predictor, "clip.mp4", "clip-parts", fps=5)
        Traceback (most recent call last):
        keras_parts.errors.DataError: clip.mp4: there is no such file
    """
    folder, smoother = Path(output), Smoother(momentum)
    files = folder / VIDEO_FILE, folder / TABLE_FILE
    for file in files:
        if file.exists() and not overwrite:
            raise ConfigError(
                f"{file} exists: replace it (--overwrite), or choose another --output", path=file
            )
    with ExitStack() as stack:
        opened = stack.enter_context(open_video(video))
        step = step_for(opened, every=every, fps=fps)
        frames = opened.frames(every=step)
        first = next(frames)  # an error leaves no folder behind
        folder.mkdir(parents=True, exist_ok=True)
        for file in files:  # what runs left that were killed, see `files.atomic_path`
            for left in folder.glob(f".{'[0-9a-f]' * 12}.{file.name}"):
                left.unlink()
        overlay, table = (stack.enter_context(atomic_path(file)) for file in files)
        segmented = _with_bar(
            _segmented(predictor, smoother, first, frames), -(-opened.num_frames // step), progress
        )
        count = _write(segmented, overlay, table, opened.rate / step)
    overlay_file, table_file = map(str, files)
    return VideoSummary(str(video), overlay_file, table_file, count, step)


def _write(
    segmented: Iterable[tuple[Frame, Parts]], overlay: Path, table: Path, rate: Fraction
) -> int:
    """Write both files; returns the number of frames."""
    count = 0
    with video_writer(overlay, rate) as write, open(table, "wb") as file:
        with io.TextIOWrapper(file, encoding="utf-8", newline="") as text:
            write_row = csv_rows(text, COLUMNS)
            for frame, parts in segmented:
                write(_drawn(parts), frame.time)
                for row in rows_of(frame, parts):
                    write_row(row)
                count += 1
    return count


def _segmented(
    predictor: Predictor, smoother: Smoother, first: Frame, others: Iterator[Frame]
) -> Iterator[tuple[Frame, Parts]]:
    batch = [first, *islice(others, min(_FRAMES, predictor.batch_size) - 1)]
    while batch:
        found = predictor.segment_all([frame.pixels for frame in batch])
        for frame, parts in zip(batch, found, strict=True):
            logits = smoother.smooth(frame.pixels, parts.logits)
            yield frame, Parts(logits, frame.pixels, parts.names)
        batch = list(islice(others, min(_FRAMES, predictor.batch_size)))


def _drawn(parts: Parts) -> np.ndarray:
    """The picture of a frame, with all parts in the legend: so it is the same in all frames."""
    picture = parts.overlay(names=False, legend=False)
    if parts.names != numbered_names(len(parts)):
        picture = with_legend(picture, parts.names, parts.palette)
    return np.asarray(picture)


def rows_of(frame: Frame, parts: Parts) -> list[dict[str, Any]]:
    """The rows of a frame, for the columns `COLUMNS`."""
    height, width = frame.pixels.shape[:2]
    rows = []
    for label in parts.present:
        x, y = parts.centroids[label - 1]
        rows.append(
            {
                "frame": frame.number,
                "time": round(frame.time, 4),
                "part": label,
                "name": parts.names[label - 1],
                "share": round(parts[label].area / (height * width), 6),
                "x": round(float(x), 2),
                "y": round(float(y), 2),
            }
        )
    return rows


def _with_bar(
    segmented: Iterable[tuple[Frame, Parts]], total: int, progress: bool
) -> Iterator[tuple[Frame, Parts]]:
    from tqdm import tqdm

    yield from tqdm(
        segmented, total=total or None, unit="frame", disable=not progress, dynamic_ncols=True
    )
