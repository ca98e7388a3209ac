"""A page on this machine where one drops a photo and sees its parts."""

import math
from pathlib import Path

import numpy as np
from PIL import Image

from keras_parts.errors import ConfigError, KerasPartsError
from keras_parts.images.decoding import decode_picture
from keras_parts.results.palette import part_legend
from keras_parts.results.parts import numbered_names

LONGEST = 1280
"""Longest side in pixels that photos are shown at, and segmented at: as large as a screen."""
_KEPT = (3600, 3600)
"""Seconds between two looks at what photos left on the disk, and how old that may become."""
_COLUMNS = ("part", "share of the object (%)", "probability")


def create_page(segmenter, name: str = ""):
    """The page of a segmenter, as a `gradio.Blocks`; `launch` of it serves it.

    It asks nothing of other servers, and reports nothing to any.

    Args:
        segmenter: a `PartSegmenter`.
        name: what to call it on the page.

    Raises:
        ConfigError: gradio is not installed.
    """
    gradio = _gradio()
    legend = part_legend(segmenter.part_names or numbered_names(segmenter.num_parts))
    colours = {part["name"]: part["colour"] for part in legend}

    def show(path):
        if path is None:
            return None, []
        try:
            picture = decode_picture(Path(path).read_bytes(), Path(path).name)
        except KerasPartsError as error:
            raise gradio.Error(str(error)) from error
        for remark in picture.remarks:
            gradio.Info(f"The file {remark}.")
        return found(segmenter, picture.image)

    with gradio.Blocks(title="keras-parts", analytics_enabled=False, delete_cache=_KEPT) as page:
        gradio.Markdown(f"# Parts: {name}" if name else "# Parts")
        photo = gradio.File(label="Photo", file_types=["image"], type="filepath", height=120)
        parts = gradio.AnnotatedImage(color_map=colours, label="Parts")
        table = gradio.Dataframe(headers=list(_COLUMNS), interactive=False)
        photo.change(show, photo, [parts, table], api_name="segment")
    return page


def serve(page, host: str = "127.0.0.1", port: int | None = None) -> str:
    """Serve a page until this process ends or `page.close()`; returns its address.

    Args:
        page: from `create_page`.
        host: the address to listen at; others than this machine's own need "0.0.0.0".
        port: None for the first free one from 7860.

    Raises:
        OSError: the port is taken.
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


def found(segmenter, image: np.ndarray):
    """What the page shows of an image `(height, width, 3)` uint8 RGB.

    Returns:
        ((image, [(mask `(height, width)` float32, name), ...]), rows of the table): of the parts
        that the image shows.
    """
    shown = Image.fromarray(image)
    shown.thumbnail((LONGEST, LONGEST))
    parts = segmenter.segment(shown)
    masks = [
        ((parts.labels == label).astype(np.float32), name)
        for label, name in enumerate(parts.names, start=1)
        if parts.areas[label - 1]
    ]
    whole = max(1, parts.areas.sum())
    rows = [
        [name, round(100 * float(area / whole), 1), round(float(score), 3)]
        for name, area, score in zip(parts.names, parts.areas, parts.scores, strict=True)
        if not math.isnan(score)
    ]
    return (np.asarray(shown), masks), rows


def _gradio():
    try:
        import gradio
    except ImportError:
        raise ConfigError("the page needs gradio: pip install 'keras-parts[demo]'") from None
    return gradio
