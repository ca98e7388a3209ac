"""Names and joined parts of saved models: what is written where, and what is left as it was."""

import json
import shutil

import pytest

from keras_parts import zoo
from keras_parts.errors import ConfigError, IntegrityError
from keras_parts.models.segmenter import PartSegmenter, SegmenterConfig
from keras_parts.results import write_page
from keras_parts.results.page import read_page
from keras_parts.training.origins import Origin, run_origins
from keras_parts.training.run_folder import RunFolder, finished_runs
from keras_parts.zoo.terms import licences_of
from tests.small import random_images, register_tiny
from tests.zoo.entries import make_entry

NAMES = ["head", "wing", "tail"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of a finished run of three parts, with two pictures on its page."""
    run = RunFolder.create(tmp_path_factory.mktemp("made") / "mine")
    data = {"dataset": "toy", "split": "train", "licence": "mine"}
    run.write_config({"num_parts": 3}, 7, data)
    run.log({"step": 300})
    run.sheet_file(300).write_bytes(b"a sheet")
    segmenter = PartSegmenter(SegmenterConfig(3, register_tiny()))
    segmenter.save_preset(run.segmenter)
    images = random_images((40, 60), (60, 40))
    parts = dict(zip(["a.jpg", "b.jpg"], segmenter.segment(images), strict=True))
    write_page(run.path, parts, title="Training", settings={"steps": 300}, model="elsewhere")
    return run.path


@pytest.fixture
def run(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(made, "runs/mine")
    return RunFolder("runs/mine")


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_names_are_stored_in_a_run_and_its_page(run):
    before = contents(run.path)
    assert zoo.name_parts("runs/mine", NAMES) == run.path
    after = contents(run.path)
    config, page = run.segmenter / "segmenter.json", run.page_file
    assert {path for path in after if after[path] != before.get(path)} == {config, page}
    assert before.keys() == after.keys()
    assert zoo.load("runs/mine").part_names == tuple(NAMES)
    content = read_page(run.path)
    assert [part["name"] for part in content["parts"]] == NAMES
    assert content["model"] == "runs/mine" and len(content["pictures"]) == 2
    again = ["face", *NAMES[1:]]
    zoo.name_parts("runs/mine/segmenter", again)
    assert [part["name"] for part in read_page(run.path)["parts"]] == again


def test_a_named_copy_of_a_run_is_whole(run):
    before = contents(run.path)
    folder = zoo.name_parts("runs/mine", NAMES, output="new/named")
    assert contents(run.path) == before and folder.as_posix() == "new/named"
    assert (folder / "samples/step-00000300.png").is_file() and (folder / "page/2.js").is_file()
    assert read_page(folder)["model"] == "new/named" and not (folder / ".lock").exists()
    assert zoo.load("new/named").part_names == tuple(NAMES)


def test_joined_parts_are_a_new_run_beside_the_old_one(run):
    before = contents(run.path)
    zoo.name_parts("runs/mine", NAMES)
    folder = zoo.name_parts("runs/mine", join_groups=[["wing", 1]])
    assert folder.as_posix() == "runs/mine-joined"
    assert zoo.load(folder).part_names == ("head and wing", "tail")
    assert finished_runs("runs")[0].path == folder
    shutil.copytree(folder, "runs/.0123456789ab.mine-joined")  # left by a process that was killed
    assert [one.path.name for one in finished_runs("runs")] == ["mine-joined", "mine"]
    copy = RunFolder(folder)
    assert copy.read_config()["data"]["licence"] == "mine" and copy.metrics() == [{"step": 300}]
    assert not copy.samples.exists()  # pictures of the parts before
    content = read_page(folder)
    assert [part["name"] for part in content["parts"]] == ["head and wing", "tail"]
    assert content["model"] == "runs/mine-joined" and content["settings"] == {"steps": "300"}
    shares = [picture[-1] for picture in content["pictures"]]
    assert len(shares) == 2 and all(set(share) <= {"1", "2"} for share in shares)
    with pytest.raises(ConfigError, match="no checkpoints to resume from"):
        copy.check_available(resume=True)
    weights = "segmenter/segmenter.weights.h5"
    assert (folder / weights).read_bytes() == before[run.path / weights]

    second = zoo.name_parts("runs/mine", ["bird", "tail"], join_groups=[[1, 2]])
    assert second.as_posix() == "runs/mine-joined-2"
    assert zoo.load(second).part_names == ("bird", "tail")
    with pytest.raises(ConfigError, match="runs/mine exists already: remove it"):
        zoo.name_parts(second, NAMES[:2], output="runs/mine")


def test_the_folder_of_a_segmenter(run):
    shutil.copytree(run.segmenter, "plain")
    assert zoo.name_parts("./plain", NAMES).as_posix() == "plain"
    joined = zoo.name_parts("plain", join_groups=[["head", "tail"]])
    assert sorted(path.name for path in joined.iterdir()) == [
        "segmenter.json", "segmenter.weights.h5"
    ]  # fmt: skip
    assert joined.as_posix() == "plain-joined"
    assert zoo.load(joined).part_names == ("head and tail", "wing")


def test_the_folder_that_one_is_in(run, monkeypatch):
    monkeypatch.chdir(run.path)
    assert zoo.name_parts(".", join_groups=[[1, 2]]).resolve().name == "mine-joined"


def test_models_of_the_zoo_become_runs_with_their_terms(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    terms = {"code": "MIT", "weights": "CC0-1.0", "data": "research only"}
    values = {"format": 1, "parts": 2, "part_names": ["head", "tail"], "architecture": "small"}
    files = {"segmenter.json": json.dumps(values).encode()}
    make_entry(tmp_path / "entry", files, licences=terms, pairs=[[1, 2]])
    before = contents(tmp_path / "entry")
    folder = zoo.name_parts("./entry", ["face", "back"])
    assert folder.as_posix() == "runs/birds-4-named" and contents(tmp_path / "entry") == before
    assert "birds-4@1.0.0: a run does not record which parts swap" in caplog.text
    run = RunFolder(folder)
    config = run.read_config()
    origin = Origin("birds-4@1.0.0", "initialisation", "research only", "CC0-1.0")
    assert run_origins(config) == (origin,) and config["data"]["licence"] == "research only"
    model, licences = licences_of(run.segmenter)
    assert model == "birds-4-named" and licences.data == "research only"
    assert licences.weights == (
        "the owner's; inherited from birds-4@1.0.0 (initialisation): CC0-1.0"
    )
    assert licences_of(tmp_path / "entry")[0] == "birds-4@1.0.0" and licences_of(tmp_path) is None
    values = json.loads((run.segmenter / "segmenter.json").read_text())
    assert values["part_names"] == ["face", "back"] and values["num_parts"] == 2


def test_nothing_is_written_if_anything_is_wrong(run, tmp_path):
    before = contents(tmp_path)
    for names, groups, message in (
        (["head", "wing"], [], "the number of names is 2"),
        (NAMES, [[1, 2]], "has 2 parts, but the number of names is 3"),
        (None, [[1, 9]], "no part '9'"),
    ):
        with pytest.raises(ConfigError, match=message):
            zoo.name_parts("runs/mine", names, join_groups=groups)
    weights = run.segmenter / "segmenter.weights.h5"
    weights.write_bytes(before[weights.absolute()][:-9])
    with pytest.raises(IntegrityError):  # the pictures of its page cannot be segmented
        zoo.name_parts("runs/mine", join_groups=[[1, 2]])
    assert contents(tmp_path).keys() == before.keys()
    damaged = json.loads((run.segmenter / "segmenter.json").read_text()) | {"num_parts": "3"}
    (run.segmenter / "segmenter.json").write_text(json.dumps(damaged))
    with pytest.raises(ConfigError, match=r"segmenter.json: num_parts is '3'"):
        zoo.name_parts("runs/mine", NAMES)


def test_a_packed_model_with_joined_parts(run, tmp_path):
    joined = zoo.name_parts("runs/mine", ["bird", "tail"], join_groups=[[1, 3]])
    card = zoo.pack(joined, output="entry", name="joined", progress=False)
    assert (
        card.num_parts == 2 and card.part_names == ("bird", "tail") and card.training.steps == 300
    )
    found = zoo.verify("entry")
    assert found["difference"] <= found["tolerance"]
    with pytest.raises(ConfigError, match="both called 'bird'"):
        zoo.pack(joined, output="other", part_names=["bird", "bird"], progress=False)
