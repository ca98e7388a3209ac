"""Label Studio's import format: tasks with predictions."""

from collections.abc import Sequence
from typing import Any

from keras_parts.inference.inputs import ImageFile
from keras_parts.inference.output import Output
from keras_parts.inference.writers.base import Records, RunInfo, Writer, json_list, valid_text
from keras_parts.results.palette import part_palette
from keras_parts.results.parts import Parts


class LabelStudioWriter(Writer):
    description = (
        "Label Studio: tasks with brush labels (label-studio.json), labelling interface (.xml)"
    )
    merged = ("label-studio.json", "label-studio.xml")

    def record(self, parts: Parts, file: ImageFile) -> Any:
        return parts.label_studio()

    def merge(self, records: Records, run: RunInfo, output: Output) -> None:
        output.write(self.merged[1], _interface(run.names))
        tasks = (
            {
                "data": {"image": valid_text(file.relative)},
                "predictions": [{"model_version": run.model, "result": result}],
            }
            for file, result in records
        )
        with output.create(self.merged[0]) as file:
            file.writelines(json_list(tasks))
            file.write(b"\n")


def _interface(names: Sequence[str]) -> bytes:
    """The labelling interface of the tasks."""
    from xml.etree import ElementTree as xml

    view = xml.Element("View")
    xml.SubElement(view, "Image", name="image", value="$image", zoom="true")
    brushes = xml.SubElement(view, "BrushLabels", name="parts", toName="image")
    for name, colour in zip(names, part_palette(len(names)), strict=True):
        background = "#{:02x}{:02x}{:02x}".format(*colour)
        xml.SubElement(brushes, "Label", value=name, background=background)
    xml.indent(view)
    return xml.tostring(view, encoding="utf-8") + b"\n"
