"""A page for the browser with the results of all images."""

import os
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

from keras_parts.inference.inputs import ImageFile
from keras_parts.inference.output import Output
from keras_parts.inference.writers.base import PerImageWriter, Records, RunInfo, valid_text
from keras_parts.inference.writers.overlay import OverlayWriter
from keras_parts.results.page import (
    PAGE_FILE,
    PagePicture,
    page_html,
    picture_script,
    picture_summary,
)
from keras_parts.results.parts import Parts


class PageWriter(PerImageWriter):
    description = (
        "a page for the browser: pictures with parts that light up, the least certain first"
    )
    merged = (PAGE_FILE,)
    needs_image = True

    def content(self, parts: Parts) -> bytes:
        return picture_script(parts)

    def record(self, parts: Parts, file: ImageFile) -> Any:
        return picture_summary(parts)

    def merge(self, records: Records, run: RunInfo, output: Output) -> None:
        pieces = page_html(
            f"Parts found by {run.model}" if run.model else "Parts",
            run.names,
            self._pictures(records, run.settings.get("formats", ())),
            settings=run.settings,
            failures=((failure.path, failure.message) for failure in run.failures),
            model=run.model_location,
        )
        with output.create(self.merged[0]) as file:
            file.writelines(pieces)

    def _pictures(self, records: Records, formats: Sequence[str]) -> Iterator[PagePicture]:
        overlay = _overlay_writer(formats)
        for file, summary in records:
            link = _address(overlay.file_name(file)) if overlay else ""
            yield PagePicture(
                valid_text(file.relative), _address(self.file_name(file)), summary, link
            )


def _overlay_writer(formats: Sequence[str]) -> PerImageWriter | None:
    """The writer of the larger pictures that the page links to."""
    from keras_parts.inference.writers import create_writers

    writers = create_writers(formats) if formats else []
    return next((writer for writer in writers if isinstance(writer, OverlayWriter)), None)


def _address(name: str) -> str:
    """The name of a file as a relative address; it may have bytes that are no text."""
    return quote(os.fsencode(name))
