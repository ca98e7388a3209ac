"""One contract for all formats, and what is particular to each."""

import base64
import csv
import io
import json
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from keras_parts.errors import ConfigError, KerasPartsError
from keras_parts.inference import FORMATS, ImageFile
from keras_parts.inference.output import LocalOutput
from keras_parts.inference.writers import RunInfo, create_writers
from keras_parts.results import ObjectMap, Parts

RUN = RunInfo(("head", "tail & <wing>", "leg"), "birds")
PER_IMAGE = [name for name, (kind, _) in FORMATS.items() if not kind.merged]
MERGED = [name for name in FORMATS if name not in PER_IMAGE]
ONLY_MERGED = [name for name in MERGED if name != "page"]


def some_parts(seed=0, size=(33, 21), image=True):
    """Parts of noise, of which the last one is absent."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(*size, 4)).astype(np.float32) - [1, 0, 0, 99]
    pixels = rng.integers(0, 255, (*size, 3), np.uint8) if image else None
    descriptors = rng.normal(size=(3, 5)).astype(np.float32)
    return Parts(logits.astype(np.float32), pixels, RUN.names, descriptors=descriptors)


def no_parts(size=(5, 4)):
    """Parts of an image without an object."""
    logits = np.zeros((*size, 4), np.float32) + np.array([9, 0, 0, 0], np.float32)
    image = np.zeros((*size, 3), np.uint8)
    return Parts(logits, image, RUN.names, descriptors=np.zeros((3, 5), np.float32))


def file(name):
    return ImageFile("/photos", name, name.rpartition(".")[0])


@pytest.fixture
def output(tmp_path):
    folder = LocalOutput(tmp_path / "out", "test")
    folder.prepare()
    yield folder
    folder.close()


def write(name, output, images):
    """Write {file name: parts} in a format; returns the files of the folder."""
    (writer,) = create_writers([name])
    records = []
    for path, parts in images.items():
        for target, content in writer.files(parts, file(path)).items():
            output.write(target, content)
        record = writer.record(parts, file(path))  # stored as JSON, which has no NaN
        records.append((file(path), json.loads(json.dumps(record, allow_nan=False))))
    if writer.merged:
        writer.merge(records, RUN, output)
    return {
        path.relative_to(output.path).as_posix(): path.read_bytes()
        for path in output.path.rglob("*")
        if path.is_file() and ".unfinished" not in path.parts
    }


@pytest.fixture(autouse=True)
def _installed(request):
    """Skip formats whose package is missing: they are extras."""
    name = request.node.callspec.params.get("name") if hasattr(request.node, "callspec") else None
    for package in FORMATS[name][0].packages if name in FORMATS else ():
        pytest.importorskip(package)


@pytest.mark.parametrize("name", FORMATS)
def test_contract(name, output):
    kind, _ = FORMATS[name]
    images = {
        "a.v1/b.c.jpg": some_parts(0),
        "a.v1/ü 鳥 'q\" &<x>\n.png": some_parts(1, (7, 40)),
        "caf\udce9.png": some_parts(2),
        "empty.png": no_parts(),
        "pixel.png": no_parts((1, 1)),
    }
    first = write(name, output, images)
    assert kind.description
    own = [each for each in first if each not in kind.merged]
    assert set(kind.merged) <= set(first)
    assert not own if name in ONLY_MERGED else own
    if own:
        assert all(each.startswith(f"{name}/") for each in own)
        assert any(each.startswith(f"{name}/a.v1/b.c") for each in own)
        (writer,) = create_writers([name])
        owners = [[each for each in images if writer.owns(path, file(each))] for path in own]
        assert all(len(names) == 1 for names in owners)
    # Writing again replaces older files by the same bytes.
    for each in first:
        (output.path / each).write_bytes(b"older")
    assert write(name, output, images) == first
    # A run without images succeeds.
    (writer,) = create_writers([name])
    writer.merge([], RUN, output)


@pytest.mark.parametrize("name", FORMATS)
def test_formats_that_need_the_image(name):
    (writer,) = create_writers([name])
    parts = some_parts(image=False)
    if writer.needs_image:
        with pytest.raises(ConfigError, match="no image"):
            writer.files(parts, file("a.png"))
    else:
        writer.files(parts, file("a.png"))
        writer.record(parts, file("a.png"))


@pytest.mark.parametrize("name", PER_IMAGE)
def test_a_failed_write_keeps_the_previous_file(name, output, monkeypatch):
    first = write(name, output, {"a.png": some_parts()})

    def full(descriptor):
        raise OSError("interrupted")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(KerasPartsError, match="interrupted"):
        write(name, output, {"a.png": some_parts(1)})
    monkeypatch.undo()
    for each, content in first.items():
        assert (output.path / each).read_bytes() == content


def test_unknown_repeated_and_no_formats():
    for formats, words in ((["mp3"], "mp3; choose from indexed"), ([], "none given")):
        with pytest.raises(ConfigError, match=words):
            create_writers(formats)
    with pytest.raises(ConfigError, match="has a format twice"):
        create_writers(["csv", "csv"])


def test_a_format_whose_package_is_missing_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"coco needs pycocotools.*keras-parts\[formats\]"):
        create_writers(["coco"])


@pytest.mark.parametrize(
    ("name", "kind"),
    [("overlay", "JPEG"), ("overlay-webp", "WEBP"), ("overlay-png", "PNG")],
)
def test_overlays_have_the_names_below_the_image(name, kind, output):
    parts = some_parts(size=(120, 200))
    (content,) = write(name, output, {"a.png": parts}).values()
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.format == kind and picture.mode == "RGB"
        assert picture.width == 200 and picture.height > 120
        below = np.asarray(picture)[120:].reshape(-1, 3).astype(int)
    found = [np.abs(below - colour).max(axis=1).min() <= 8 for colour in parts.palette]
    assert found == [True, True, False]  # part 3 is absent


def test_plain_overlays_have_the_images_size(output):
    (content,) = write("overlay-plain", output, {"a.png": some_parts()}).values()
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.size == (21, 33) and picture.format == "JPEG"


def test_indexed_holds_the_labels(output):
    parts = some_parts()
    (content,) = write("indexed", output, {"a.png": parts}).values()
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.mode == "P"
        np.testing.assert_array_equal(np.asarray(picture), parts.labels)


def test_soft_holds_the_probabilities(output):
    parts = some_parts()
    (content,) = write("soft", output, {"a.png": parts}).values()
    with np.load(io.BytesIO(content)) as arrays:
        assert arrays["probabilities"].dtype == np.float16
        np.testing.assert_allclose(arrays["probabilities"], parts.probabilities, atol=1e-3)
        assert tuple(arrays["names"]) == RUN.names


def test_cutouts_hold_the_parts_pixels(output):
    parts = some_parts()
    files = write("cutouts", output, {"a.png": parts, "empty.png": no_parts()})
    assert sorted(files) == ["cutouts/a/1.png", "cutouts/a/2.png"]
    with Image.open(io.BytesIO(files["cutouts/a/2.png"])) as picture:
        pixels = np.asarray(picture)
    x0, y0, x1, y1 = (parts.boxes[1] + 0.5).astype(int)
    assert pixels.shape == (y1 - y0, x1 - x0, 4)
    np.testing.assert_array_equal(pixels[..., 3] == 255, parts.labels[y0:y1, x0:x1] == 2)
    np.testing.assert_array_equal(pixels[..., :3], parts.image[y0:y1, x0:x1])


def test_coco_is_read_back_by_pycocotools(output):
    coco = pytest.importorskip("pycocotools.coco")
    parts = some_parts()
    write("coco", output, {"sub/a.png": parts, "empty.png": no_parts()})
    found = coco.COCO(str(output.path / "coco.json"))
    images = found.loadImgs(found.getImgIds())
    assert [image["file_name"] for image in images] == ["sub/a.png", "empty.png"]
    assert (images[0]["width"], images[0]["height"]) == (21, 33)
    assert [each["name"] for each in found.loadCats(found.getCatIds())] == [*RUN.names, "object"]
    annotations = found.loadAnns(found.getAnnIds(imgIds=[1]))
    assert [each["category_id"] for each in annotations] == [1, 2, 4]
    for annotation in annotations[:2]:
        label = annotation["category_id"]
        mask = parts.labels == label
        np.testing.assert_array_equal(found.annToMask(annotation).astype(bool), mask)
        assert annotation["area"] == mask.sum()
        left, top, width, height = annotation["bbox"]
        np.testing.assert_array_equal(
            np.array([left, top, left + width, top + height]) - 0.5, parts.boxes[label - 1]
        )
        assert annotation["score"] == pytest.approx(parts.scores[label - 1], abs=1e-5)
    whole = annotations[2]
    np.testing.assert_array_equal(found.annToMask(whole).astype(bool), parts.foreground)
    points = np.reshape(whole["keypoints"], (3, 3))
    np.testing.assert_allclose(points[:2, :2] - 0.5, parts.centroids[:2], atol=0.01)
    assert points[:, 2].tolist() == [2, 2, 0] and whole["num_keypoints"] == 2
    assert found.getAnnIds(imgIds=[2]) == []


def decode_label_studio(packed):
    """A mask's bytes by the format's own rules, one bit after the other."""
    bits = iter("".join(f"{byte:08b}" for byte in packed))

    def number(width):
        return int("".join(next(bits) for _ in range(width)), 2)

    count, word = number(32), number(5) + 1
    widths = [number(4) + 1 for _ in range(4)]
    values = []
    while len(values) < count:
        is_run = number(1)
        length = number(widths[number(2)]) + 1
        if is_run:
            values += [number(word)] * length
        else:
            values += [number(word) for _ in range(length)]
    return np.array(values, np.uint8)


TASKS = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["data", "predictions"],
        "properties": {
            "data": {"type": "object", "required": ["image"]},
            "predictions": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["model_version", "result"],
                    "properties": {
                        "result": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "required": [
                                    "id", "type", "value", "from_name", "to_name",
                                    "original_width", "original_height",
                                ],
                                "properties": {
                                    "type": {"const": "brushlabels"},
                                    "original_width": {"type": "integer", "minimum": 1},
                                    "original_height": {"type": "integer", "minimum": 1},
                                    "value": {
                                        "type": "object",
                                        "required": ["format", "rle", "brushlabels"],
                                        "properties": {
                                            "format": {"const": "rle"},
                                            "rle": {
                                                "type": "array",
                                                "items": {
                                                    "type": "integer", "minimum": 0, "maximum": 255
                                                },
                                            },
                                            "brushlabels": {"type": "array", "minItems": 1},
                                        },
                                    },
                                },
                            },
                        }
                    },
                },
            },
        },
    },
}  # fmt: skip
"""Schema of Label Studio for imported tasks with brush predictions."""


def test_label_studio_tasks_follow_their_schema(output):
    jsonschema = pytest.importorskip("jsonschema")
    labels = np.repeat([1, 0, 2], 100)[:, None].repeat(260, 1)  # runs of more than 16 bits
    labels[::20, ::20] = 0
    parts = Parts(8 * np.eye(4, dtype=np.float32)[labels], names=RUN.names)
    files = write("label-studio", output, {"a.png": parts, "empty.png": no_parts()})
    tasks = json.loads(files["label-studio.json"])
    jsonschema.validate(tasks, TASKS)
    assert [task["data"]["image"] for task in tasks] == ["a.png", "empty.png"]
    regions = tasks[0]["predictions"][0]["result"]
    assert len({region["id"] for region in regions}) == len(regions) == 2
    interface = ElementTree.fromstring(files["label-studio.xml"])
    known = [label.get("value") for label in interface.iter("Label")]
    assert known == list(RUN.names)
    assert interface.find("BrushLabels").get("name") == regions[0]["from_name"]
    assert interface.find("Image").get("name") == regions[0]["to_name"]
    for label, region in zip((1, 2), regions, strict=True):
        pixels = decode_label_studio(region["value"]["rle"]).reshape(300, 260, 4)
        np.testing.assert_array_equal(pixels[..., 3] == 255, parts.labels == label)
        assert region["value"]["brushlabels"] == [known[label - 1]]


CVAT = """
<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema">
  <xs:element name="annotations">
    <xs:complexType>
      <xs:sequence>
        <xs:element name="version" fixed="1.1"/>
        <xs:element name="meta">
          <xs:complexType>
            <xs:sequence>
              <xs:element name="task">
                <xs:complexType>
                  <xs:all>
                    <xs:element name="id" type="xs:nonNegativeInteger" minOccurs="0"/>
                    <xs:element name="name" type="xs:string" minOccurs="0"/>
                    <xs:element name="size" type="xs:nonNegativeInteger" minOccurs="0"/>
                    <xs:element name="mode" type="xs:string" minOccurs="0"/>
                    <xs:element name="labels" type="Labels"/>
                  </xs:all>
                </xs:complexType>
              </xs:element>
              <xs:element name="dumped" type="xs:string" minOccurs="0"/>
            </xs:sequence>
          </xs:complexType>
        </xs:element>
        <xs:element name="image" type="Image" minOccurs="0" maxOccurs="unbounded"/>
      </xs:sequence>
    </xs:complexType>
    <xs:unique name="images"><xs:selector xpath="image"/><xs:field xpath="@id"/></xs:unique>
    <xs:key name="names">
      <xs:selector xpath="meta/task/labels/label"/><xs:field xpath="name"/>
    </xs:key>
    <xs:keyref name="known" refer="names">
      <xs:selector xpath="image/mask"/><xs:field xpath="@label"/>
    </xs:keyref>
  </xs:element>
  <xs:complexType name="Labels">
    <xs:sequence>
      <xs:element name="label" maxOccurs="unbounded">
        <xs:complexType>
          <xs:all>
            <xs:element name="name" type="xs:string"/>
            <xs:element name="color" minOccurs="0">
              <xs:simpleType>
                <xs:restriction base="xs:string">
                  <xs:pattern value="#[0-9a-fA-F]{6}"/>
                </xs:restriction>
              </xs:simpleType>
            </xs:element>
            <xs:element name="type" minOccurs="0">
              <xs:simpleType>
                <xs:restriction base="xs:string">
                  <xs:enumeration value="any"/>
                  <xs:enumeration value="mask"/>
                  <xs:enumeration value="polygon"/>
                  <xs:enumeration value="rectangle"/>
                </xs:restriction>
              </xs:simpleType>
            </xs:element>
            <xs:element name="attributes"/>
          </xs:all>
        </xs:complexType>
      </xs:element>
    </xs:sequence>
  </xs:complexType>
  <xs:complexType name="Image">
    <xs:sequence>
      <xs:element name="mask" minOccurs="0" maxOccurs="unbounded">
        <xs:complexType>
          <xs:attribute name="label" type="xs:string" use="required"/>
          <xs:attribute name="source" type="xs:string" use="required"/>
          <xs:attribute name="occluded" type="Flag" use="required"/>
          <xs:attribute name="rle" use="required">
            <xs:simpleType>
              <xs:restriction base="xs:string">
                <xs:pattern value="[0-9]+(, [0-9]+)*"/>
              </xs:restriction>
            </xs:simpleType>
          </xs:attribute>
          <xs:attribute name="left" type="xs:nonNegativeInteger" use="required"/>
          <xs:attribute name="top" type="xs:nonNegativeInteger" use="required"/>
          <xs:attribute name="width" type="xs:positiveInteger" use="required"/>
          <xs:attribute name="height" type="xs:positiveInteger" use="required"/>
          <xs:attribute name="z_order" type="xs:integer"/>
          <xs:attribute name="group_id" type="xs:nonNegativeInteger"/>
        </xs:complexType>
      </xs:element>
    </xs:sequence>
    <xs:attribute name="id" type="xs:nonNegativeInteger" use="required"/>
    <xs:attribute name="name" type="xs:string" use="required"/>
    <xs:attribute name="width" type="xs:positiveInteger" use="required"/>
    <xs:attribute name="height" type="xs:positiveInteger" use="required"/>
    <xs:attribute name="subset" type="xs:string"/>
  </xs:complexType>
  <xs:simpleType name="Flag">
    <xs:restriction base="xs:string">
      <xs:enumeration value="0"/>
      <xs:enumeration value="1"/>
    </xs:restriction>
  </xs:simpleType>
</xs:schema>
"""
"""CVAT's XML for images 1.1 as documented, for masks."""


def test_cvat_follows_its_schema(output):
    xmlschema = pytest.importorskip("xmlschema")
    schema = xmlschema.XMLSchema(CVAT)
    images = {
        "a.png": some_parts(),
        "ü 鳥 'q\" &<x>\n\x01.png": some_parts(1),
        "e.png": no_parts(),
    }
    content = write("cvat", output, images)["cvat.xml"].decode()
    schema.validate(content)
    for wrong, right in ((' label="head"', ' label="beak"'), (' rle="', ' rle="x'), ("1.1", "1.0")):
        assert not schema.is_valid(content.replace(wrong, right, 1))


@pytest.mark.integration
def test_importers_of_the_tools_themselves(output):
    """Large packages of their own requirements: where they are installed."""
    pytest.importorskip("datumaro", reason="pip install -r tests/integrations.txt")
    sdk = pytest.importorskip("label_studio_sdk.label_interface")
    from datumaro.components.dataset import Dataset
    from label_studio_sdk.converter.brush import decode_rle

    owners = np.repeat(np.uint8([1, 2]), [100, 160])[None].repeat(300, 0)
    parts = replace(some_parts(size=(300, 260)), object_map=ObjectMap(owners, 2))
    files = write("label-studio", output, {"sub/a.png": parts})
    interface = sdk.LabelInterface(files["label-studio.xml"].decode())
    (task,) = json.loads(files["label-studio.json"])
    (prediction,) = task["predictions"]
    assert interface.validate_task({"data": task["data"]})
    assert interface.validate_prediction(prediction, return_errors=True) == []
    masks = [one[label].mask for one in parts.objects for label in (1, 2)]
    for mask, region in zip(masks, prediction["result"], strict=True):
        pixels = np.reshape(decode_rle(region["value"]["rle"]), (300, 260, 4))
        np.testing.assert_array_equal(pixels[..., 3] == 255, mask)

    write("cvat", output, {"sub/a.png": parts})
    path = output.path / "images/sub/a.png"  # which the importer reads
    path.parent.mkdir(parents=True)
    Image.fromarray(parts.image).save(path)
    (item,) = Dataset.import_from(str(output.path / "cvat.xml"), "cvat")
    labels, objects = np.zeros((2, 300, 260), np.uint8)
    for annotation in item.annotations:
        labels[annotation.image.astype(bool)] = 1 + annotation.label
        objects[annotation.image.astype(bool)] = annotation.group
    np.testing.assert_array_equal(labels, parts.labels)
    np.testing.assert_array_equal(objects, parts.object_labels)


def test_cvat_masks_decode_to_the_labels(output):
    parts = some_parts()
    (content,) = write("cvat", output, {"a.png": parts, "empty.png": no_parts()}).values()
    root = ElementTree.fromstring(content)
    assert root.findtext("version") == "1.1"
    labels = [label.findtext("name") for label in root.iterfind("meta/task/labels/label")]
    assert labels == list(RUN.names)
    first, second = root.iterfind("image")
    assert (first.get("id"), first.get("name")) == ("0", "a.png")
    assert (first.get("width"), first.get("height")) == ("21", "33") and len(second) == 0
    for label, mask in zip((1, 2), first.iterfind("mask"), strict=True):
        box = {name: int(mask.get(name)) for name in ("left", "top", "width", "height")}
        runs = [int(run) for run in mask.get("rle").split(",")]
        flat = np.repeat(np.arange(len(runs)) % 2, runs)
        inside = np.zeros((33, 21), bool)
        rows = slice(box["top"], box["top"] + box["height"])
        columns = slice(box["left"], box["left"] + box["width"])
        inside[rows, columns] = flat.reshape(box["height"], box["width"])
        np.testing.assert_array_equal(inside, parts.labels == label)
        assert mask.get("label") == labels[label - 1]
        assert {"source", "occluded", "z_order"} <= set(mask.keys())


def test_tables_agree(output):
    parquet = pytest.importorskip("pyarrow.parquet")
    parts = some_parts()
    images = {"a.png": parts, "empty.png": no_parts(), 'b "x",\n.png': some_parts(3)}
    write("parquet", output, images)
    content = write("csv", output, images)["parts.csv"].decode()
    rows = list(csv.DictReader(io.StringIO(content, newline="")))
    table = parquet.read_table(output.path / "parts.parquet").to_pylist()
    assert len(rows) == len(table) == 4
    for row, same in zip(rows, table, strict=True):
        assert (row["image"], row["name"]) == (same["image"], same["name"])
        for name in set(row) - {"image", "name"}:
            assert float(row[name]) == pytest.approx(same[name], rel=1e-6)
    first = {name: float(rows[0][name]) for name in rows[0] if name not in ("image", "name")}
    assert first["part"] == 1 and first["area"] == parts.areas[0]
    assert first["x"] == pytest.approx(parts.centroids[0, 0], abs=1e-3)
    assert [first[name] for name in ("x0", "y0", "x1", "y1")] == parts.boxes[0].tolist()
    assert rows[2]["image"] == 'b "x",\n.png'


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＠"])
@pytest.mark.parametrize("name", ["csv", "descriptors-npy"])
def test_a_spreadsheet_runs_no_name(output, name, begin):
    text = f"{begin}HYPERLINK(1).png"
    files = write(name, output, {text: some_parts(), "a-=.png": some_parts()})
    (content,) = (files[each].decode() for each in files if each.endswith(".csv"))
    rows = list(csv.DictReader(io.StringIO(content, newline="")))
    assert {row["image"] for row in rows} == {f"'{text}", "a-=.png"}


def test_names_in_csv_stay_distinct_and_whole(output):
    names = ["=a.png", "'=a.png", "'a.png", "b;=c.png", "d\t=e.png"]
    content = write("csv", output, dict.fromkeys(names, some_parts()))["parts.csv"].decode()
    rows = list(csv.DictReader(io.StringIO(content, newline="")))
    assert {row["image"] for row in rows} == {"'=a.png", "''=a.png", *names[2:]}
    assert '\n"b;=c.png",' in content and '\n"d\t=e.png",' in content


def test_names_in_cvat_stay_distinct(output):
    content = write("cvat", output, dict.fromkeys(["a\x1b", "a\x07", "a?"], no_parts()))["cvat.xml"]
    names = [image.get("name") for image in ElementTree.fromstring(content).iter("image")]
    assert names == ["a\\x1b", "a\\x07", "a?"]


def test_descriptors_agree(output):
    parquet = pytest.importorskip("pyarrow.parquet")
    parts = some_parts()
    images = {"a.png": parts, "empty.png": no_parts(), "b.png": some_parts(3)}
    write("descriptors", output, images)
    files = write("descriptors-npy", output, images)
    vectors = np.load(io.BytesIO(files["descriptors.npy"]))
    assert vectors.shape == (4, 5) and vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors[:2], parts.descriptors[:2])
    index = list(csv.DictReader(io.StringIO(files["descriptors.csv"].decode())))
    table = parquet.read_table(output.path / "descriptors.parquet").to_pylist()
    assert [(row["image"], row["part"]) for row in index] == [
        (row["image"], str(row["part"])) for row in table
    ]
    np.testing.assert_array_equal([row["vector"] for row in table], vectors)


def test_results_of_several_objects(output):
    """Tables, descriptors and CVAT's file have the parts of each object."""
    whole = some_parts()
    owners = np.repeat(np.uint8([1, 2]), [8, 13])[None].repeat(33, 0)
    descriptors = np.random.default_rng(2).normal(size=(2, 3, 5)).astype(np.float32)
    objects = ObjectMap(owners, 2, descriptors)
    parts = replace(whole, object_map=objects, descriptors=descriptors.mean(0))
    expected = [("1", "1"), ("1", "2"), ("2", "1"), ("2", "2")]
    for name in ("csv", "descriptors-npy"):
        files = {
            key: text
            for key, text in write(name, output, {"a.png": parts}).items()
            if key in FORMATS[name][0].merged
        }
        (content,) = (files[each].decode() for each in files if each.endswith(".csv"))
        rows = list(csv.DictReader(io.StringIO(content, newline="")))
        assert [(row["object"], row["part"]) for row in rows] == expected
    # The second owner has more pixels: it is object 1.
    vectors = np.load(io.BytesIO(files["descriptors.npy"]))
    np.testing.assert_array_equal(vectors, descriptors[::-1, :2].reshape(4, 5))
    content = write("cvat", output, {"a.png": parts})["cvat.xml"]
    groups = [mask.get("group_id") for mask in ElementTree.fromstring(content).iter("mask")]
    assert groups == ["1", "1", "2", "2"]


def test_descriptors_are_stored_exactly():
    (writer,) = create_writers(["descriptors-npy"])
    record = writer.record(some_parts(), file("a.png"))
    vectors = np.frombuffer(base64.b64decode(record["vectors"]), "<f4").reshape(2, 5)
    np.testing.assert_array_equal(vectors, some_parts().descriptors[:2])
