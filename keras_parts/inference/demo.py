"""A page on this machine that shows the parts of a photo dropped on it."""

import math
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from keras_parts.errors import ConfigError, KerasPartsError
from keras_parts.images.decoding import decode_image
from keras_parts.results.palette import part_legend
from keras_parts.results.parts import Parts, numbered_names

MAX_SIDE = 1280
"""Maximum side of a shown photo in pixels, about that of a screen; larger ones are downsampled."""
_DELETE_CACHE = (3600, 3600)
"""Seconds between two clean-ups of the photos on the disk, and the age of removed photos."""
_COLUMNS = ("part", "share of the object (%)", "probability")

Shown = tuple[np.ndarray, list[tuple[np.ndarray, str]]]
"""An image `(height, width, 3)` uint8, and (mask `(height, width)` float32, name) of its parts."""


class Segmenter(Protocol):
    """The attributes of a `PartSegmenter` that the page needs."""

    @property
    def num_parts(self) -> int: ...

    @property
    def part_names(self) -> tuple[str, ...]: ...

    def segment(self, images: Any, /) -> Parts: ...


def create_page(segmenter: Segmenter, name: str = "") -> Any:
    """The page of a segmenter, a `gradio.Blocks`; `serve` serves it.

    It makes no requests to other servers.

    Args:
        segmenter: a `PartSegmenter`.
        name: of the model on the page.

    Raises:
        ConfigError: gradio is not installed.
    """
    gradio = _gradio()
    legend = part_legend(segmenter.part_names or numbered_names(segmenter.num_parts))
    colours = {part["name"]: part["colour"] for part in legend}

    def show(path: str | None) -> tuple[Shown | None, list[list[Any]]]:
        if path is None:
            return None, []
        try:
            decoded = decode_image(Path(path).read_bytes(), Path(path).name)
        except KerasPartsError as error:
            raise gradio.Error(str(error)) from error
        for remark in decoded.remarks:
            gradio.Info(f"The file {remark}.")
        return show_parts(segmenter, decoded.image)

    with gradio.Blocks(
        title="keras-parts", analytics_enabled=False, delete_cache=_DELETE_CACHE
    ) as page:
        gradio.Markdown(f"# Parts: {name}" if name else "# Parts")
        photo = gradio.File(label="Photo", file_types=["image"], type="filepath", height=120)
        parts = gradio.AnnotatedImage(color_map=colours, label="Parts")
        table = gradio.Dataframe(headers=list(_COLUMNS), interactive=False)
        photo.change(show, photo, [parts, table], api_name="segment")
    return page


def serve(page: Any, host: str = "127.0.0.1", port: int | None = None) -> str:
    """Serve a page until this process ends or `page.close()` is called.

    Args:
        page: from `create_page`.
        host: address to listen at; "0.0.0.0" makes the page available to other machines.
        port: None for the first free one from 7860.

    Returns:
        The address of the page.

    Raises:
        OSError: the port is in use.
    """
    theme = _gradio().themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])
    _, address, _ = page.launch(
        server_name=host,
        server_port=port,
        share=False,
        prevent_thread_lock=True,
        quiet=True,
        show_error=True,
        theme=theme,
    )
    return address


def show_parts(segmenter: Segmenter, image: np.ndarray) -> tuple[Shown, list[list[Any]]]:
    """The image, the parts' masks and the table that the page shows.

    Args:
        segmenter: a `PartSegmenter`.
        image: `(height, width, 3)` uint8 RGB.

    Returns:
        ((image, [(mask, name), ...]), rows of the table), for the parts in the image.
    """
    photo = Image.fromarray(image)
    photo.thumbnail((MAX_SIDE, MAX_SIDE))
    parts = segmenter.segment(photo)
    masks = [
        ((parts.labels == label).astype(np.float32), name)
        for label, name in enumerate(parts.names, start=1)
        if parts.areas[label - 1]
    ]
    object_area = max(1, parts.areas.sum())
    rows = [
        [name, round(100 * float(area / object_area), 1), round(float(score), 3)]
        for name, area, score in zip(parts.names, parts.areas, parts.scores, strict=True)
        if not math.isnan(score)
    ]
    return (np.asarray(photo), masks), rows


def _gradio() -> Any:
    try:
        import gradio
    except ImportError:
        raise ConfigError("the page needs gradio: pip install 'keras-parts[demo]'") from None
    return gradio
