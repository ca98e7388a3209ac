"""Frames of video files, read and written one at a time with PyAV (extra `video`)."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from os import PathLike, fspath
from typing import Any

import numpy as np

from keras_parts.errors import ConfigError, DataError
from keras_parts.extras import import_from_extra
from keras_parts.files import check_regular
from keras_parts.images.opening import MAX_PIXELS

_READER = {
    # FFmpeg also reads playlists, and would open the files and addresses in them.
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi",
    "protocol_whitelist": "none",
}
_QUALITY = {"crf": "20", "preset": "veryfast"}


@dataclass(frozen=True, eq=False)
class Frame:
    """A frame of a video.

    Attributes:
        number: from 0, counting every frame of the file.
        time: seconds since the file's first frame.
        pixels: `(height, width, 3)` uint8 RGB, upright.
    """

    number: int
    time: float
    pixels: np.ndarray


class Video:
    """A video file; a loop gives its frames. Use `open_video`.

    Attributes:
        path: of the file.
        rate: frames a second, on average.
        num_frames: number of frames as far as the file states it; 0 if it does not.
    """

    def __init__(self, path: str, container: Any):
        self.path = path
        self._container = container
        self._stream = container.streams.video[0]
        self._stream.thread_type = "AUTO"
        self.rate = Fraction(self._stream.average_rate or 25)
        self.num_frames = int(self._stream.frames or self._stated_seconds() * self.rate)

    def frames(self, *, every: int = 1) -> Iterator[Frame]:
        """The frames, each `every`-th one.

        Raises:
            DataError: a frame cannot be decoded, or there are none.
        """
        number, start = -1, None
        with _readable(self.path):
            for number, frame in enumerate(self._container.decode(self._stream)):
                time = number / self.rate if frame.time is None else Fraction(frame.time)
                start = time if start is None else start
                if number % every == 0:
                    yield Frame(number, float(time - start), _upright(frame))
        if number < 0:
            raise DataError(f"{self.path}: the video has no frames", path=self.path)

    def _stated_seconds(self) -> float:
        if self._stream.duration:
            return float(self._stream.duration * self._stream.time_base)
        return (self._container.duration or 0) / 1e6


@contextmanager
def open_video(path: str | PathLike[str]) -> Iterator[Video]:
    """Open a video file.

    Raises:
        ConfigError: PyAV is not installed.
        DataError: it is not a video that can be read, or its frames are too large.
    """
    path = fspath(path)
    check_regular(path)
    av = import_from_extra("av", "video")
    with open(path, "rb") as file:
        with _readable(path):
            container = av.open(file, options=_READER)
        with container:
            if not container.streams.video:
                raise DataError(f"{path}: has no pictures, only sound or data", path=path)
            stream = container.streams.video[0]
            width, height = stream.width, stream.height
            if width * height > MAX_PIXELS:
                raise DataError(
                    f"{path}: frames of {width} x {height} pixels exceed the limit of "
                    f"{MAX_PIXELS:,} pixels", path=path,
                )  # fmt: skip
            yield Video(path, container)


@contextmanager
def _readable(path: str) -> Iterator[None]:
    """Turn an error of PyAV into one that names the file."""
    import av

    try:
        yield
    except (av.error.FFmpegError, OSError, ValueError, IndexError) as error:
        if isinstance(error, DataError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"{path}: cannot be read as a video: {reason}. It is empty, damaged or of another "
            "format; `ffmpeg -i FILE new.mp4` may mend it",
            path=path,
        ) from error


def _upright(frame: Any) -> np.ndarray:
    """The pixels of a frame, turned as its file says; phones store pictures lying."""
    pixels = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))


@contextmanager
def video_writer(
    path: str | PathLike[str], rate: Fraction
) -> Iterator[Callable[[np.ndarray, float], None]]:
    """Write a video: H.264, without sound.

    Args:
        path: the file to write.
        rate: frames a second, on average; the time of each frame is kept.

    Yields:
        A function that writes a frame: `(height, width, 3)` uint8 RGB, the same size each time,
        and its time in seconds, which grows. Of an odd number of rows or columns the last one is
        left out.
    """
    av = import_from_extra("av", "video")
    clock = Fraction(1, 90_000)
    with av.open(fspath(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options=_QUALITY)
        stream.pix_fmt, stream.codec_context.time_base = "yuv420p", clock
        last = -1

        def write(pixels: np.ndarray, time: float) -> None:
            nonlocal last
            height, width = (side - side % 2 for side in pixels.shape[:2])
            if last < 0:
                stream.width, stream.height = width, height
            frame = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(pixels[:height, :width]), format="rgb24"
            )
            last = max(last + 1, round(time / clock))
            frame.pts, frame.time_base = last, clock
            container.mux(stream.encode(frame))

        yield write
        container.mux(stream.encode())


def step_for(video: Video, *, every: int | None = None, fps: float | None = None) -> int:
    """How many frames of a video there are from one that is segmented to the next.

    Args:
        every: this number.
        fps: at most so many frames a second instead.

    Raises:
        ConfigError: both are given, or one is too small.
    """
    if every is not None and fps is not None:
        raise ConfigError(f"every is {every} and fps is {fps:g}: give only one of them")
    if every is not None and every < 1:
        raise ConfigError(f"every is {every} frames, expected at least 1")
    if fps is not None and not 0 < fps < math.inf:
        raise ConfigError(f"fps is {fps:g} frames a second, expected more than 0")
    return every or (max(1, math.ceil(video.rate / Fraction(fps))) if fps else 1)
