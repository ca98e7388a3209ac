"""What the documents show works: every command parses, and those that need no network run."""

import importlib.util
import json
import re
import textwrap
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import keras_parts
from keras_parts import data, environment
from keras_parts.errors import DataError
from keras_parts.inference.writers import RunInfo
from tests.data import drawn
from tests.documents import ROOT, blocks, commands, parse, run

DOCUMENTS = [
    path
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.md"))
    if path.name != "CHANGELOG.md"
]
PAGES = (
    *(f"docs/{name}.md" for name in (
        "index", "photographs", "troubleshooting", "zoo", "segmenting", "search", "benchmarks"
    )),
    "examples/README.md",
)  # fmt: skip
"""Documents whose blocks are run, in order, in one folder each."""
ROOMS = re.findall(r"^\| `(\w+)` \|", (ROOT / "ARCHITECTURE.md").read_text("utf-8"), re.MULTILINE)
SUFFIXES = {"csv", "json", "jsonl", "md", "npy", "npz", "parquet", "png", "py", "xml", "yml"}
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
MADE_UP = ("NAME", "areas", "birdlets", "kites", "mine", "part_entropy")
"""Words in names of files that documents make up."""
EXAMPLES = ("discover_parts.py", "fine_tune.py", "search_by_part.py")
ALL_COMMANDS = {command: path.name for path in DOCUMENTS for block in blocks(path)
                for command in commands(block)}  # fmt: skip


@pytest.mark.parametrize("command", ALL_COMMANDS)
def test_command_parses(command):
    context = parse(command)
    if context.info_name == "train":
        from keras_parts.training.recipes import parse_setting, recipe

        recipe(**dict(map(parse_setting, context.params["settings"])))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_names_and_files_exist(path):
    text = path.read_text(encoding="utf-8")
    names = re.findall(r"`([a-z_]+(?:\.\w+)+)(?:\(.*?\))?`", text)
    files = re.findall(r"`([\w./-]+/[\w-]+\.py)`", text)
    missing = [name for name in names if is_of_package(name) and not is_there(name)]
    folders = [ROOT, ROOT / "keras_parts", *ROOT.glob("keras_parts/*/")]
    missing += [name for name in files if not any((one / name).is_file() for one in folders)]
    assert not [name for name in missing if not any(word in name for word in MADE_UP)]


def is_of_package(name):
    room, _, rest = name.partition(".")
    return room in ("keras_parts", *ROOMS) and rest not in SUFFIXES


def is_there(name):
    """Whether a dotted name exists; `data.load` is short for `keras_parts.data.load`."""
    found = keras_parts
    try:
        for part in name.removeprefix("keras_parts.").split("."):
            if not hasattr(found, part):
                importlib.import_module(f"{found.__name__}.{part}")
            found = getattr(found, part)
    except (AttributeError, ModuleNotFoundError):
        return False
    return True


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with `photos/`, `masks/`, a list of them, and a small model in `tiny/`."""
    for index, sample in enumerate(data.load("toy", "test", count=5, size=97)):
        name = "animal.png" if index == 0 else f"animal-{index}.png"
        for kind, pixels in (("photos", sample.image), ("masks", sample.foreground)):
            (tmp_path / kind).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / kind / name)
    (tmp_path / "list.txt").write_text("photos/animal.png\nphotos/animal-1.png\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERAS_PARTS_HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """An untrained segmenter of 65 pixels: what it takes is quick."""
    from tests.small import small_segmenter

    path = tmp_path_factory.mktemp("models") / "tiny"
    small_segmenter().save_preset(path)
    return path


@pytest.fixture(scope="module")
def birds(tmp_path_factory):
    """Drawn birds in the layout of CUB-200-2011."""
    return drawn.cub(tmp_path_factory.mktemp("birds"))["data_dir"]


def shortened(command, tiny, birds):
    """A command on few and small images, with a small model."""
    command = re.sub(r"--model (toy|cub)\b", f"--model {tiny}", command)
    command = re.sub(r"--init-from (runs/)?(toy|cub|mine)\b", f"--init-from {tiny}", command)
    command = command.replace("zoo:cub", f"zoo:{tiny}").replace("zoo:toy", f"zoo:{tiny}")
    command = command.replace("~/datasets/CUB_200_2011", str(birds))
    if "--dataset toy" in command:
        command += " --data-option count=6"
    if " train " in command:
        command += " --steps 1 --batch-size 2 --recipe toy"
        if "--init-from" not in command:
            command += " --image-size 65"
    return command


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_page_runs(page, folder, tiny, birds, eager):
    for block in blocks(ROOT / page):
        if not block.is_run:
            continue
        for command in commands(block):
            run(shortened(command, tiny, birds))
        if block.language == "python":
            exec(compile(block.text, page, "exec"), {})


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_example_runs(name, folder, eager):
    code = (ROOT / "examples" / name).read_text(encoding="utf-8")
    code = re.sub(r"^STEPS = \d+$", "STEPS = 1", code, flags=re.MULTILINE)
    code = code.replace('"steps": STEPS', '"steps": 1, "batch_size": 2, "teacher_size": 65')
    exec(compile(code, name, "exec"), {})
    assert list(folder.glob("*.png"))


def test_the_version_is_the_same_everywhere():
    version = keras_parts.__version__
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"\nversion: {version}\n" in citation
    assert re.search(r"^## \[(\d.*?)\] - \d{4}-\d\d-\d\d$", changelog, re.MULTILINE)[1] == version


def test_a_release_changes_every_place_of_the_version():
    path = ROOT / "scripts" / "release.py"
    spec = importlib.util.spec_from_file_location("release", path)
    release = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(release)
    changed = {
        name: change((ROOT / name).read_text(encoding="utf-8"), "99.1.0", "2031-02-03")
        for name, change in release.CHANGES.items()
    }
    assert '__version__ = "99.1.0"' in changed["keras_parts/__init__.py"]
    assert 'version: 99.1.0\ndate-released: "2031-02-03"\n' in changed["CITATION.cff"]
    changelog = changed["CHANGELOG.md"]
    assert "## [Unreleased]\n\n## [99.1.0] - 2031-02-03\n" in changelog
    assert f"compare/v{keras_parts.__version__}...v99.1.0" in changelog
    with pytest.raises(SystemExit, match="no version after"):
        release.change_package(changed["keras_parts/__init__.py"], "99.0.9", "2031-02-04")
    with pytest.raises(SystemExit, match="nothing under Unreleased"):
        release.change_changelog(changelog, "99.2.0", "2031-02-04")


@pytest.mark.parametrize(
    "path", [*ROOT.glob(".github/**/*.yml"), ROOT / "CITATION.cff"], ids=lambda path: path.name
)
def test_yaml_is_read(path):
    import yaml

    assert yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_settings_exist(path):
    from keras_parts.training.recipes import recipe

    text = path.read_text(encoding="utf-8")
    for name in re.findall(r"`((?:loss_weights|crops|view_transforms)\.\w+)`", text):
        if not any(word in name for word in MADE_UP):
            recipe(**{name: 0})


class TestRecipesOfContributing:
    """The examples of CONTRIBUTING.md: each block runs as a part of the module that it belongs to.

    Nothing of the package is changed: the blocks run in a copy of the module's names.
    """

    BLOCKS = re.findall(r"```python\n(.*?)^ *```", CONTRIBUTING, re.DOTALL | re.MULTILINE)

    def names(self, text, module=None):
        """The names that the block with this text defines."""
        (block,) = (block for block in self.BLOCKS if text in block)
        names = dict(vars(importlib.import_module(module))) if module else {"__name__": "example"}
        exec(compile(textwrap.dedent(block), "CONTRIBUTING.md", "exec"), names)
        return names

    def test_every_block_is_tested(self):
        assert len(self.BLOCKS) == 7

    def test_loss(self, monkeypatch):
        objectives = "keras_parts.discovery.objectives"
        loss = self.names("def part_entropy", objectives)["part_entropy"]
        logits = np.zeros((1, 4, 4, 2), "float32")
        foreground = np.ones((1, 4, 4, 1), "float32")
        assert float(loss(logits, foreground)) == pytest.approx(np.log(2), abs=1e-5)
        monkeypatch.setattr(keras_parts.objectives, "part_entropy", loss, raising=False)
        create = self.names("class PartEntropy", "keras_parts.discovery.losses")["PartEntropy"]
        views = SimpleNamespace(logits=logits, foreground=foreground)
        assert create.name == "part_entropy" and create.setting_names() == ("temperature",)
        assert float(create(temperature=3)(views)) == pytest.approx(np.log(2), abs=1e-5)

    def test_reader(self, tmp_path):
        from tests.data.contract import check_dataset

        for number in range(20):
            drawn.save(tmp_path / "birdlets" / "images" / f"{number}.jpg", drawn.photograph(number))
            drawn.save(tmp_path / "birdlets" / "labels" / f"{number}.png", drawn.labels(number, 3))
        load = self.names("load_birdlets")["load_birdlets"]
        sizes = {split: len(load(split, tmp_path)) for split in ("train", "test", "all")}
        assert sizes["train"] + sizes["test"] == sizes["all"] == 20
        for split in ("train", "test", "fit", "validation", "all"):
            check_dataset(load(split, tmp_path))

    def test_reader_of_keypoints(self, tmp_path):
        from tests.data.contract import check_dataset

        root = tmp_path / "kites"
        for number in range(20):
            drawn.save(root / "images" / f"{number}.jpg", drawn.photograph(number))
            drawn.save(root / "masks" / f"{number}.png", drawn.labels(number, 1) * 255)
        lines = [f"{number} 12 7.5 1 0 0 0 20 9 1\n" for number in range(20)]
        (root / "points.txt").write_text("".join(lines))
        load = self.names("load_kites")["load_kites"]
        for split in ("train", "test", "fit", "validation", "all"):
            check_dataset(load(split, tmp_path))
        sample = load("all", tmp_path)[0]
        assert sample.visible.tolist() == [True, False, True] and sample.box is not None
        (root / "points.txt").write_text("".join([*lines, "20 12 7.5\n"]))
        with pytest.raises(DataError, match="points.txt has '20 12 7.5' in line 21, expected a na"):
            load("all", tmp_path)
        (root / "points.txt").write_text("".join([*lines, lines[0]]))
        with pytest.raises(DataError, match="points.txt has 0 twice, the second time in line 21"):
            load("all", tmp_path)
        (root / "points.txt").write_text("0 60 7.5 1 0 0 0 20 9 1\n")
        (problem,) = load("all", tmp_path).problems(0)
        assert problem.startswith("kites: points.txt: nose of 0 is at x=60, y=7.5, outside the")

    def test_protocol(self):
        protocol = self.names("grid-foreground")["FOREGROUND"]
        animals = data.load("toy", "test", count=4)

        def labels_as_logits(images):
            known = {sample.image.tobytes(): sample.part_labels for sample in animals}
            count = 1 + len(animals.info.part_names)
            return [np.eye(count, dtype="float32")[known[image.tobytes()]] for image in images]

        result = protocol(labels_as_logits, animals, len(animals.info.part_names))
        assert result.values["FG-NMI"] == pytest.approx(100)

    def test_writer(self):
        from keras_parts.inference import ImageFile

        create = self.names("class AreasWriter")["AreasWriter"]
        parts = keras_parts.Parts(np.eye(3, dtype="float32")[[[1, 1, 2], [0, 0, 2]]])
        written = create("areas", suffix=".txt").files(parts, ImageFile("/photos", "a.jpg", "a"))
        assert written == {"areas/a.txt": b"part 1 2\npart 2 2\n"}

    def test_merged_writer(self, tmp_path):
        from keras_parts.inference import ImageFile
        from keras_parts.inference.output import LocalOutput

        writer = self.names("class LargestWriter")["LargestWriter"]("largest")
        found = keras_parts.Parts(np.eye(3, dtype="float32")[[[1, 1, 2], [0, 1, 2]]])
        empty = keras_parts.Parts(np.eye(3, dtype="float32")[[[0, 0], [0, 0]]])
        records = []
        for name, parts in (("a.jpg", found), ("caf\udce9.jpg", empty)):
            file = ImageFile("/photos", name, name)
            records.append((file, json.loads(json.dumps(writer.record(parts, file)))))
        output = LocalOutput(tmp_path / "out", "test")
        output.prepare()
        writer.merge(records, RunInfo(found.names), output)
        output.close()
        text = (tmp_path / "out" / "largest.json").read_text(encoding="utf-8")
        one, other = json.loads(text, parse_constant=pytest.fail)
        assert one["image"] == "a.jpg" and one["part"]["part"] == 1 and one["part"]["area"] == 3
        assert other == {"image": "caf\\xe9.jpg", "part": None}


def test_data_sets_are_in_the_table_of_the_benchmarks():
    text = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    table = text.partition("| name | annotations |")[2].partition("\n\n")[0]
    first_cells = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    names = [name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(names) == sorted(data.catalogue.DATASETS)


def test_every_environment_variable_is_on_the_page_of_limits():
    text = (ROOT / "docs" / "trust.md").read_text(encoding="utf-8")
    named = {value for name, value in vars(environment).items() if name.endswith("_VARIABLE")}
    assert named == set(re.findall(r"`(KERAS_PARTS_[A-Z_]+)`", text.partition("## Limits")[2]))


MESSAGES_OF_OTHERS = {
    "Could not locate class 'PartSegmenter'": (
        "keras", "src/saving/serialization_lib.py", "Could not locate {obj_type} '{name}'",
    ),
    "Creating variables on a non-first call": (
        "tensorflow", "python/eager/polymorphic_function/polymorphic_function.py",
        "Creating variables on a non-first call",
    ),
    "must have the same shape up until the last dimension": (
        "keras", "src/ops/nn.py", "up until the last dimension",
    ),
}  # fmt: skip
"""Message in the table of docs/troubleshooting.md -> package, file of it, and text in the file."""
MESSAGE_OF_PYTHON = "'NoneType' object is not callable"


def test_messages_that_are_explained_exist():
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    folders = ("keras_parts", "zoo", "cli")
    sources = [path.read_text("utf-8") for one in folders for path in (ROOT / one).rglob("*.py")]
    messages = re.findall(r'^\| "(.*?)" \|', text, re.MULTILINE)
    assert messages
    for message in set(messages) - {MESSAGE_OF_PYTHON}:
        if message in MESSAGES_OF_OTHERS:
            package, file, source = MESSAGES_OF_OTHERS[message]
            folders = importlib.util.find_spec(package).submodule_search_locations
            (path, *_) = (Path(one, file) for one in folders if Path(one, file).is_file())
            assert source in path.read_text("utf-8")
        else:
            assert any(message in source for source in sources), message
