"""CVAT's XML for images, version 1.1."""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree as xml

from keras_parts.inference.inputs import ImageFile
from keras_parts.inference.output import Output
from keras_parts.inference.writers.base import Records, RunInfo, Writer, valid_text
from keras_parts.results.palette import part_palette
from keras_parts.results.parts import Parts

_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_MASK = {"source": "auto", "occluded": "0"}


class CvatWriter(Writer):
    description = "CVAT (XML for images 1.1): one mask for each part, one group for each object"
    merged = ("cvat.xml",)

    def record(self, parts: Parts, file: ImageFile) -> Any:
        width, height = parts.size
        return {"width": width, "height": height, "masks": parts.cvat()}

    def merge(self, records: Records, run: RunInfo, output: Output) -> None:
        with output.create(self.merged[0]) as file:
            file.write(b'<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n')
            file.write(b"<version>1.1</version>\n")
            file.write(_bytes(_meta(run.names)))
            for number, (image, record) in enumerate(records):
                file.write(_bytes(_image(number, image, record)))
            file.write(b"</annotations>\n")


def _meta(names: Sequence[str]) -> xml.Element:
    meta = xml.Element("meta")
    labels = xml.SubElement(xml.SubElement(meta, "task"), "labels")
    for name, colour in zip(names, part_palette(len(names)), strict=True):
        label = xml.SubElement(labels, "label")
        xml.SubElement(label, "name").text = _valid(name)
        xml.SubElement(label, "color").text = "#{:02x}{:02x}{:02x}".format(*colour)
        xml.SubElement(label, "type").text = "mask"
        xml.SubElement(label, "attributes")
    return meta


def _image(number: int, file: ImageFile, record: Mapping[str, Any]) -> xml.Element:
    values = {"id": str(number), "name": _valid(file.relative)}
    size = {"width": str(record["width"]), "height": str(record["height"])}
    image = xml.Element("image", values | size)
    for order, mask in enumerate(record["masks"]):
        values = {name: _valid(str(value)) for name, value in mask.items()}
        xml.SubElement(image, "mask", _MASK | values | {"z_order": str(order)})
    return image


def _bytes(element: xml.Element) -> bytes:
    xml.indent(element)
    return xml.tostring(element, encoding="utf-8") + b"\n"


def _valid(text: str) -> str:
    """A text as XML may have it; other characters become \\x1b and the like, so that two names stay
    two."""
    return _NOT_IN_XML.sub(lambda found: ascii(found[0])[1:-1], valid_text(text))
