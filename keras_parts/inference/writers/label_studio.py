"""Label Studio's import format: tasks with predictions."""

from keras_parts.inference.writers.base import Writer, json_list, written_text
from keras_parts.results.palette import part_palette


class LabelStudioWriter(Writer):
    about = "Label Studio: tasks with brush labels (label-studio.json), its labels in a .xml"
    merged = ("label-studio.json", "label-studio.xml")

    def record(self, parts, file):
        return parts.label_studio()

    def merge(self, records, labels, output):
        output.write(self.merged[1], _interface(labels.names))
        tasks = (
            {
                "data": {"image": written_text(file.relative)},
                "predictions": [{"model_version": labels.model, "result": result}],
            }
            for file, result in records
        )
        with output.create(self.merged[0]) as file:
            file.writelines(json_list(tasks))
            file.write(b"\n")


def _interface(names):
    """The labelling interface that the tasks are for."""
    from xml.etree import ElementTree as xml

    view = xml.Element("View")
    xml.SubElement(view, "Image", name="image", value="$image", zoom="true")
    brushes = xml.SubElement(view, "BrushLabels", name="parts", toName="image")
    for name, colour in zip(names, part_palette(len(names)), strict=True):
        background = "#{:02x}{:02x}{:02x}".format(*colour)
        xml.SubElement(brushes, "Label", value=name, background=background)
    xml.indent(view)
    return xml.tostring(view, encoding="utf-8") + b"\n"
