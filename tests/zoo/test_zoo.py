import json
import shutil
import warnings

import h5py
import numpy as np
import pytest

from keras_parts import zoo
from keras_parts.errors import DataError, IntegrityError
from keras_parts.zoo import UnknownModel
from keras_parts.zoo.cards import CONFIG_FILE, WEIGHTS_FILE, FileRecord

pytestmark = pytest.mark.backend

METRICS = {"pixels-fg": {"nmi": 61.5, "ari": 50.0}}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(run folder, segmenter) as a training leaves them, untrained."""
    import keras

    from keras_parts.segmenter import PartSegmenter, SegmenterConfig
    from keras_parts.training.recipes import recipe
    from keras_parts.training.run_folder import RunFolder

    keras.utils.set_random_seed(0)
    chosen = recipe("toy", parts=3, size=65, seed=7)
    folder = RunFolder.create(tmp_path_factory.mktemp("runs") / "toy")
    folder.write_config(chosen.to_json(), chosen.seed)
    segmenter = PartSegmenter(SegmenterConfig(3, "small", size=65))
    segmenter.save_preset(folder.segmenter)
    return folder.path, segmenter


@pytest.fixture
def entries(made, tmp_path, monkeypatch):
    """A zoo of one model, "toy"."""
    monkeypatch.setattr(zoo, "_ENTRIES", tmp_path)
    zoo.pack(made[0], tmp_path / "toy", "toy", dataset="toy", metrics=METRICS)
    return tmp_path


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 255, (40, 56, 3), np.uint8)


def test_list_and_info(entries):
    (card,) = zoo.list()
    assert card == zoo.info("toy")
    assert (card.name, card.parts, card.seed, card.recipe) == ("toy", 3, 7, "toy")
    assert card.part_names == ("part 1", "part 2", "part 3")
    assert card.metrics == METRICS
    assert set(card.files) == {CONFIG_FILE, WEIGHTS_FILE}


def test_names_of_the_files_are_the_segmenters(made):
    from keras_parts import segmenter

    assert {CONFIG_FILE, WEIGHTS_FILE} == {path.name for path in (made[0] / "segmenter").iterdir()}
    assert WEIGHTS_FILE == segmenter.WEIGHTS_FILE


def test_load_by_name_and_by_folder_gives_the_packed_segmenter(entries, made, image):
    run, segmenter = made
    expected = segmenter.maps([image])[0]
    for model in ("toy", entries / "toy", str(run), run / "segmenter"):
        np.testing.assert_allclose(zoo.load(model).maps([image])[0], expected, atol=1e-5)


def test_part_names_are_stored_with_the_segmenter(made, tmp_path):
    card = zoo.pack(made[0], tmp_path, "toy", "toy", part_names=["head", "body", "tail"])
    assert card.part_names == ("head", "body", "tail")
    assert zoo.load(tmp_path).part_names == card.part_names


def test_a_name_goes_before_a_folder(entries, monkeypatch, tmp_path_factory):
    folder = tmp_path_factory.mktemp("work")
    monkeypatch.chdir(folder)
    (folder / "toy").mkdir()
    assert zoo.load("toy").parts == 3
    with pytest.raises(UnknownModel, match="holds no segmenter"):
        zoo.load("./toy")


@pytest.mark.parametrize("name", ["toi", "Toy", "to"])
def test_unknown_names_get_a_suggestion(entries, name):
    for function in (zoo.load, zoo.info):
        with pytest.raises(UnknownModel, match="did you mean 'toy'"):
            function(name)


def test_unknown_names_far_from_any(entries):
    with pytest.raises(UnknownModel, match="there are: toy"):
        zoo.load("zebra")
    for name in ("", "../toy", "toy/..", "no/such/folder"):
        with pytest.raises(UnknownModel):
            zoo.info(name)


def edit_config(folder, **changes):
    path = folder / CONFIG_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_changed_files_are_refused_before_they_are_opened(entries, monkeypatch):
    import keras_parts.safety

    def never(*args):
        raise AssertionError("was opened")

    monkeypatch.setattr(keras_parts.safety, "check_weights_file", never)
    path = entries / "toy" / WEIGHTS_FILE
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match=f"{WEIGHTS_FILE}: sha256 is .* expected"):
        zoo.load("toy")
    path.write_bytes(content[:-1])
    with pytest.raises(IntegrityError, match=f"has .* bytes, expected {len(content):,}"):
        zoo.load("toy")


def test_changed_configuration_is_refused(entries):
    edit_config(entries / "toy", output_stride=8)
    with pytest.raises(IntegrityError, match=CONFIG_FILE):
        zoo.load("toy")


@pytest.fixture
def preset(made, tmp_path):
    """A copy of the run's segmenter without a card: what somebody may send."""
    return shutil.copytree(made[0] / "segmenter", tmp_path / "preset")


def test_links_out_of_the_weights_are_refused(preset):
    with h5py.File(preset / WEIGHTS_FILE, "a") as file:
        file["layers/x"] = h5py.ExternalLink("/etc/passwd", "/")
    with pytest.raises(IntegrityError, match="ExternalLink"):
        zoo.load(preset)


def first_array(file):
    found = []
    file.visititems(lambda name, item: found.append(name) if hasattr(item, "shape") else None)
    return found[0]


def test_weights_that_are_not_finite_are_refused(preset):
    with h5py.File(preset / WEIGHTS_FILE, "a") as file:
        file[first_array(file)][...] = np.nan
    with pytest.raises(IntegrityError, match="not finite"):
        zoo.load(preset)


def test_weights_of_another_shape_or_missing_are_refused(preset):
    with h5py.File(preset / WEIGHTS_FILE, "a") as file:
        name = first_array(file)
        del file[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(IntegrityError):
            zoo.load(preset)
    with h5py.File(preset / WEIGHTS_FILE, "a") as file:
        file[name] = np.zeros((2, 2), "float32")
    with pytest.raises(IntegrityError):
        zoo.load(preset)


def test_more_weights_than_the_segmenter_has_are_refused(preset):
    with h5py.File(preset / WEIGHTS_FILE, "a") as file:
        file["layers/extra/vars/0"] = np.zeros(3, "float32")
    with pytest.raises(IntegrityError, match="1 are not expected"):
        zoo.load(preset)


def test_missing_weights(preset):
    (preset / WEIGHTS_FILE).unlink()
    with pytest.raises(IntegrityError, match=WEIGHTS_FILE):
        zoo.load(preset)


@pytest.mark.parametrize(
    "changes",
    [{"architecture": "lambda"}, {"parts": 10**9}, {"size": 10**9}, {"module": "os"}],
    ids=str,
)
def test_configurations_outside_their_ranges_are_refused(preset, changes):
    edit_config(preset, **changes)
    with pytest.raises(IntegrityError):
        zoo.load(preset)


def test_pack_pins_the_files(made, tmp_path):
    card = zoo.pack(made[0], tmp_path / "x", "x", "toy")
    for name, record in card.files.items():
        assert FileRecord.of(tmp_path / "x" / name) == record
    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == sorted(
        ["card.json", *card.files]
    )


def test_pack_of_an_unfinished_run(made, tmp_path):
    shutil.copy(made[0] / "config.json", tmp_path / "config.json")
    with pytest.raises(DataError, match="no segmenter yet"):
        zoo.pack(tmp_path, tmp_path / "x", "x", "toy")
    with pytest.raises(DataError, match=r"config\.json"):
        zoo.pack(tmp_path / "none", tmp_path / "x", "x", "toy")


def test_pack_refuses_a_bad_name(made, tmp_path):
    with pytest.raises(IntegrityError, match="name is 'Bad Name'"):
        zoo.pack(made[0], tmp_path / "x", "Bad Name", "toy")
    assert not (tmp_path / "x/card.json").exists()


def test_what_ships_with_the_package_is_sound():
    for card in zoo.list():
        segmenter = zoo.load(card.name)
        assert segmenter.parts == card.parts
        assert tuple(segmenter.part_names or card.part_names) == card.part_names
