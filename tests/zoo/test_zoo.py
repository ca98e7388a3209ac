"""Segmenters by name, folder or address, and the errors of each."""

import io
import json
import pickle
import shutil
import warnings
from types import SimpleNamespace

import h5py
import keras
import numpy as np
import pytest

from keras_parts import data, zoo
from keras_parts.errors import (
    ConfigError,
    DataError,
    DownloadError,
    IntegrityError,
    UnknownModelError,
    UntrustedAddressError,
)
from keras_parts.keras_private import set_random_seed
from keras_parts.models.segmenter import PartSegmenter, SegmenterConfig
from keras_parts.training.recipes import recipe
from keras_parts.training.run_folder import RunFolder
from keras_parts.zoo import descriptions, models, packing, registry
from keras_parts.zoo.cards import (
    CARD_FILE,
    CONFIG_FILE,
    GOLDEN_FILE,
    PICTURE_FILE,
    WEIGHTS_FILE,
    Card,
    FileRecord,
    Licences,
    read_card,
)
from keras_parts.zoo.golden import golden_difference
from keras_parts.zoo.terms import NO_LICENCE


def make_run(path, seed, parts=3):
    """(run folder, untrained segmenter), with the files of a finished training."""
    set_random_seed(seed)
    chosen = recipe("toy", num_parts=parts, image_size=65, seed=seed)
    folder = RunFolder.create(path)
    described = {"dataset": "toy", "split": "fit", "images": 480, "licence": "Apache-2.0"}
    folder.write_config(chosen.to_json(), chosen.seed, described)
    folder.log({"step": 300, "loss": 1.0})
    segmenter = PartSegmenter(SegmenterConfig(parts, "small", image_size=65))
    segmenter.save_preset(folder.segmenter)
    return folder.path, segmenter


@pytest.fixture(scope="module")
def run_and_segmenter(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "toy", seed=7)


@pytest.fixture(scope="module")
def samples():
    return data.load("toy", "test", count=4, size=65)


@pytest.fixture(scope="module")
def packed(run_and_segmenter, samples, tmp_path_factory):
    """Folder of an entry "drawn" with metrics and a picture."""
    folder = tmp_path_factory.mktemp("packed") / "drawn"
    zoo.pack(run_and_segmenter[0], output=folder, name="drawn", test=samples, progress=False)
    return folder


@pytest.fixture(scope="module")
def segmenter(packed):
    return zoo.load(packed)


@pytest.fixture
def entry(packed, tmp_path, monkeypatch):
    """A copy of `packed`, the only model of the package."""
    monkeypatch.setattr(registry, "PACKAGED", tmp_path / "entries")
    return shutil.copytree(packed, tmp_path / "entries" / "drawn")


def logits(segmenter):
    """Logits of one drawn image."""
    image = data.load("toy", "test", count=1, size=65)[0].image
    return keras.ops.convert_to_numpy(segmenter(image[None].astype("float32")))


def write_checksums(folder, **changes):
    """Write the current checksums into a card, as a hostile publisher would."""
    card = json.loads((folder / CARD_FILE).read_text())
    for name in card["files"]:
        record = FileRecord.of(folder / name)
        card["files"][name] = {"sha256": record.sha256, "size": record.size}
    (folder / CARD_FILE).write_text(json.dumps(card | changes))


# Packing


@pytest.mark.backend
def test_the_card_is_filled_in(packed, run_and_segmenter):
    card = read_card(packed)
    assert card.id == "drawn@1.0.0" and card.num_parts == 3 and len(card.part_names) == 3
    training = card.training
    assert (training.dataset, training.split, training.num_images) == ("toy", "fit", 480)
    assert (training.seed, training.steps) == (7, 300)
    assert (
        training.recipe
        == json.loads((run_and_segmenter[0] / "config.json").read_text())["settings"]
    )
    assert training.versions["backend"] == keras.config.backend()
    assert card.licences.data == "Apache-2.0"
    assert card.num_parameters == run_and_segmenter[1].count_params()
    assert card.segmenter["preprocessing"] == run_and_segmenter[1].preprocessing.to_config()
    assert card.evaluation.num_images == 4 and card.evaluation.split == "test"
    assert {"keypoints-foreground", "pixels-full-model"} <= set(card.evaluation.values)
    assert {"IoU", "boundary F"} < set(card.evaluation.values["masks"])
    assert set(card.evaluation.titles) == set(card.evaluation.values)
    assert set(card.files) == {CONFIG_FILE, WEIGHTS_FILE, GOLDEN_FILE, PICTURE_FILE}
    assert {path.name for path in packed.iterdir()} == {CARD_FILE, *card.files}


@pytest.mark.backend
def test_the_weights_are_half_as_large_and_hardly_different(packed, run_and_segmenter):
    run, segmenter = run_and_segmenter
    sizes = [(folder / WEIGHTS_FILE).stat().st_size for folder in (packed, run / "segmenter")]
    assert sizes[0] < 0.6 * sizes[1]
    found, expected = logits(zoo.load(packed)), logits(segmenter)
    assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()
    with h5py.File(packed / WEIGHTS_FILE) as file:
        kinds = {}
        file.visititems(
            lambda name, item: (
                kinds.setdefault(item.ndim > 1, set()).add(item.dtype.name)
                if isinstance(item, h5py.Dataset)
                else None
            )
        )
    assert kinds == {True: {"float16"}, False: {"float32"}}


@pytest.mark.slow
def test_packing_again_keeps_the_texts(run_and_segmenter, samples, tmp_path):
    folder = tmp_path / "entry"
    options = dict(output=folder, test=samples, protocols=["pixels-foreground"], progress=False)
    texts = {"about": "My animals.", "data_licence": "mine"}
    first = zoo.pack(run_and_segmenter[0], name="mine", version="2.0.1", texts=texts, **options)
    assert zoo.pack(run_and_segmenter[0], **options) == first
    assert (first.id, first.about, first.licences.data) == ("mine@2.0.1", "My animals.", "mine")
    changed = zoo.pack(run_and_segmenter[0], part_names=["a", "b", "c"], pairs=[(2, 3)], **options)
    assert changed.part_names == zoo.load(folder).part_names == ("a", "b", "c")
    assert changed.pairs == ((2, 3),) and changed.about == "My animals."


def test_the_best_of_several_seeds(run_and_segmenter, samples, tmp_path):
    runs = [run_and_segmenter[0], make_run(tmp_path / "other", seed=8)[0]]
    options = dict(
        test=samples, validation=samples, protocols=["pixels-foreground"], progress=False
    )
    choose_by = ("pixels-foreground", "FG-ARI")
    card = zoo.pack(*runs, output=tmp_path / "entry", choose_by=choose_by, **options)
    seeds = {one.seed: one for one in card.evaluation.seeds}
    assert set(seeds) == {7, 8}
    ari = {seed: one.validation["pixels-foreground"]["FG-ARI"] for seed, one in seeds.items()}
    assert card.training.seed == max(ari, key=ari.get)
    assert card.evaluation.values == seeds[card.training.seed].values
    assert card.evaluation.spread(*choose_by)[0] == pytest.approx(
        np.mean([*ari.values()]), abs=0.01
    )
    assert "pixels-foreground FG-ARI on validation" in card.evaluation.chosen_by
    with pytest.raises(ConfigError, match="validation"):
        zoo.pack(*runs, output=tmp_path / "x")


def test_errors_of_packing(run_and_segmenter, tmp_path):
    shutil.copy(run_and_segmenter[0] / "config.json", tmp_path / "config.json")
    output = tmp_path / "x"
    with pytest.raises(DataError, match="the training in .* is not finished"):
        zoo.pack(tmp_path, output=output)
    with pytest.raises(DataError, match=r"none is not the folder of a run: it has no config\.json"):
        zoo.pack(tmp_path / "none", output=output)
    with pytest.raises(IntegrityError, match=r"card.json: .*`\$.name`"):
        zoo.pack(run_and_segmenter[0], output=output, name="Bad Name")
    with pytest.raises(ConfigError, match="no text 'colour'"):
        zoo.pack(run_and_segmenter[0], output=output, texts={"colour": "red"})
    with pytest.raises(ConfigError, match="no runs"):
        zoo.pack(output=output)
    other = make_run(tmp_path / "other", seed=7, parts=4)[0]
    with pytest.raises(DataError, match="differ in num_parts"):
        zoo.pack(run_and_segmenter[0], other, output=output, validation=[])
    assert not output.exists()


def test_choosing_by_a_metric_that_was_not_measured():
    report = SimpleNamespace(values={"pixels-foreground": {"FG-NMI": 1.0, "FG-ARI": 2.0}})
    message = "choose_by is pixels:nmi, expected one of pixels-foreground:FG-NMI, pixels-foreg"
    with pytest.raises(ConfigError, match=message):
        packing._best([], [report], ("pixels", "nmi"))


def test_photographs_of_others_are_not_in_the_picture(run_and_segmenter, samples, tmp_path):
    from PIL import Image

    class Photographs(data.Subset):
        def __init__(self):
            super().__init__(samples, [0, 1])
            self.info = data.DatasetInfo("photographs", licence="research only")

    options = dict(test=Photographs(), protocols=["pixels-foreground"], progress=False)
    card = zoo.pack(run_and_segmenter[0], output=tmp_path, **options)
    colours = Image.open(tmp_path / PICTURE_FILE).convert("RGB").getcolors(2**24)
    # Away from smoothed borders there are the parts' colours, grey and white.
    flat = {colour for count, colour in colours if count > 300}
    allowed = {*card.palette, (225, 225, 225), (255, 255, 255)}
    assert all(min(np.abs(np.subtract(one, c)).max() for c in allowed) <= 8 for one in flat)


def test_folders_of_the_settings_are_not_published():
    settings = {
        "backbone_weights": "pretrained",
        "init_from": "/home/ann/runs/birds/segmenter",
        "teacher_weights": "/home/ann/vgg19.npz",
        "steps": 3,
    }
    assert descriptions.without_folders(settings) == settings | {
        "init_from": "birds",
        "teacher_weights": "vgg19.npz",
    }


def test_runs_without_evaluation(run_and_segmenter, tmp_path):
    run = shutil.copytree(run_and_segmenter[0], tmp_path / "run")
    config = json.loads((run / "config.json").read_text())
    config["data"]["models"] = [{"model": "cub@2.0.0", "use": "teacher", "data": "research only"}]
    (run / "config.json").write_text(json.dumps(config))
    card = zoo.pack(run, output=tmp_path / "entry", progress=False)
    assert card.evaluation is None and PICTURE_FILE not in card.files
    assert card.part_names == ("part 1", "part 2", "part 3")
    assert card.licences.weights == NO_LICENCE
    terms = "Apache-2.0; inherited from cub@2.0.0 (teacher): research only"
    assert card.licences.data == terms
    # Terms of data stay with their data set; what a model began from is added to any text.
    entry = tmp_path / "entry"
    assert descriptions.previous_texts(entry, "toy")["data_licence"] == "Apache-2.0"
    assert "data_licence" not in descriptions.previous_texts(entry, "cub")
    zoo.verify(entry)


# Loading


def test_list_and_info(entry):
    (card,) = zoo.list()
    assert card == zoo.info("drawn") == zoo.info("drawn@1.0.0") == read_card(entry)
    assert zoo.list(dataset="toy", num_parts=3) == [card]
    assert zoo.list(dataset="cub") == zoo.list(num_parts=4) == []


def test_terms_that_forbid_commercial_use_are_said_once(caplog):
    licences = Licences(code="MIT", weights="MIT", data="research only")
    for model in ("a@1.0.0", "a@1.0.0", "b@1.0.0"):
        models._say_terms(model, licences)
    models._say_terms("c@1.0.0", Licences(code="MIT", weights="MIT", data="the owner's"))
    models._say_terms("d@1.0.0", Licences(code="MIT", weights=NO_LICENCE, data="MIT"))
    said = [record.getMessage() for record in caplog.records]
    assert said[:2] == [
        f"{name}@1.0.0 is not for commercial use. Terms of its training data: research only"
        for name in "ab"
    ]
    assert said[2:] == [f"d@1.0.0 is not for commercial use. Terms of its weights: {NO_LICENCE}"]


def test_loading_says_the_terms(packed, monkeypatch):
    said = []
    monkeypatch.setattr(models, "_say_terms", lambda *terms: said.append(terms))
    monkeypatch.setattr(models, "_open", lambda folder, **options: folder)
    zoo.load(packed)
    assert said == [(zoo.info(packed).id, zoo.info(packed).licences)]


def test_names_of_the_files_are_the_segmenters(run_and_segmenter):
    from keras_parts.models import segmenter

    assert {CONFIG_FILE, WEIGHTS_FILE} == {
        path.name for path in (run_and_segmenter[0] / "segmenter").iterdir()
    }
    assert WEIGHTS_FILE == segmenter.WEIGHTS_FILE


@pytest.mark.backend
def test_load_by_name_and_by_folder(entry, run_and_segmenter):
    expected = logits(zoo.load(entry))
    np.testing.assert_array_equal(logits(zoo.load("drawn@1.0.0")), expected)
    run, segmenter = run_and_segmenter
    expected = logits(segmenter)
    for model in (run, str(run / "segmenter")):
        np.testing.assert_allclose(logits(zoo.load(model)), expected, atol=1e-5)


def test_a_name_takes_precedence_over_a_folder(entry, monkeypatch, tmp_path):
    folder = tmp_path / "work"
    (folder / "drawn").mkdir(parents=True)
    monkeypatch.chdir(folder)
    assert zoo.path("drawn") == entry
    with pytest.raises(UnknownModelError, match="has no segmenter"):
        zoo.path("./drawn")


def test_unknown_names(entry):
    for function in (zoo.load, zoo.info, zoo.path, zoo.verify):
        with pytest.raises(UnknownModelError, match="did you mean 'drawn'"):
            function("Drawn")
    for name in ("", "../drawn", "drawn/..", "no/such/folder"):
        with pytest.raises(UnknownModelError):
            zoo.info(name)


def test_a_folder_without_a_card(run_and_segmenter):
    with pytest.raises(UnknownModelError, match="has no card.*zoo pack"):
        zoo.info(run_and_segmenter[0])


def test_from_a_server(packed, server, tmp_path, monkeypatch):
    """Publish to a folder, serve it, and load by address, by name, and without the server."""
    zoo.publish(packed, server.root / "zoo")
    address = f"{server.url}/zoo/drawn/1.0.0"
    with pytest.raises(UntrustedAddressError, match="trust=True"):
        zoo.load(address)
    assert server.requests == []
    expected = logits(zoo.load(packed))
    np.testing.assert_array_equal(logits(zoo.load(address, trust=True)), expected)
    monkeypatch.setenv("KERAS_PARTS_ZOO", f"{server.url}/zoo")
    assert zoo.path("drawn") == zoo.path(address)
    assert len(server.requested_ranges(WEIGHTS_FILE)) == 1
    monkeypatch.setenv("KERAS_PARTS_OFFLINE", "1")
    server.requests.clear()
    assert zoo.verify("drawn")["difference"] <= 1e-4
    assert server.requests == []
    assert zoo.remove("drawn") > 500_000
    with pytest.raises(DownloadError, match="KERAS_PARTS_OFFLINE"):
        zoo.load("drawn")
    with pytest.raises(UnknownModelError, match="no downloaded model is called 'drawn'"):
        zoo.remove("drawn")


def test_download_for_a_machine_without_a_network(entry, tmp_path, monkeypatch):
    (card,) = zoo.download("drawn", to=tmp_path / "stick")
    monkeypatch.setattr(registry, "PACKAGED", tmp_path / "nothing")
    monkeypatch.setenv("KERAS_PARTS_ZOO", str(tmp_path / "stick"))
    monkeypatch.setenv("KERAS_PARTS_OFFLINE", "1")
    assert zoo.load("drawn").part_names == card.part_names
    assert zoo.prune() == 0


# The golden pair


@pytest.mark.backend
def test_verify(entry):
    found = zoo.verify("drawn")
    assert found["difference"] <= found["tolerance"] == 1e-4


@pytest.mark.backend
def test_other_weights_do_not_pass_the_golden_pair(entry, run_and_segmenter, tmp_path):
    with h5py.File(entry / WEIGHTS_FILE, "a") as file:
        name = first_array(file)
        file[name][...] = np.roll(file[name][()], 1)
    write_checksums(entry)
    with pytest.raises(IntegrityError, match="logits differ by up to .* expected 0.0001"):
        zoo.verify("drawn")


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("pixels", None),
        ("extra", (3,)),
        ("pixels", (1, 33, 33, 4)),
        ("pixels", (1, 4097, 33, 3)),
        ("pixels", (33, 33, 3)),
        ("pixels", (64, 513, 513, 3)),
        ("logits", (1, 5, 5, 9)),
        ("logits", (1, 2, 2, 4)),
    ],
)
def test_files_that_are_not_a_golden_pair(segmenter, packed, tmp_path, name, shape):
    path = tmp_path / GOLDEN_FILE
    shutil.copy(packed / GOLDEN_FILE, path)
    with h5py.File(path, "a") as file:
        if name in file:
            del file[name]
        if shape is not None:
            file.create_dataset(name, shape, "float32", compression="gzip")[..., 0] = 0
    with pytest.raises(IntegrityError, match=r"golden\.h5"):
        golden_difference(segmenter, path)


# Hostile entries


def never(*arguments, **options):
    raise AssertionError("was opened")


def test_changed_files_are_refused_before_they_are_opened(entry, monkeypatch):
    monkeypatch.setattr("keras_parts.backbones.weights_file.check_weights_file", never)
    monkeypatch.setattr(PartSegmenter, "from_preset", never)
    path = entry / WEIGHTS_FILE
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match=f"{WEIGHTS_FILE}: sha256 is .* expected"):
        zoo.load("drawn")
    path.write_bytes(content[:-1])
    with pytest.raises(IntegrityError, match=f"has .* bytes, expected {len(content):,}"):
        zoo.load("drawn")


def first_array(file):
    found = []
    file.visititems(
        lambda name, item: found.append(name) if getattr(item, "ndim", 0) == 4 else None
    )
    return found[0]


def external_link(file):
    file["layers/x"] = h5py.ExternalLink("/etc/passwd", "/")


def virtual(file):
    name = first_array(file)
    layout = h5py.VirtualLayout(file[name].shape, "float32")
    layout[:] = h5py.VirtualSource("other.h5", "secret", file[name].shape)
    del file[name]
    file.create_virtual_dataset(name, layout)


def four_terabytes(file):
    name = first_array(file)
    del file[name]
    file.create_dataset(name, (1024,) * 4, "float32", chunks=(1, 1, 1024, 1024))


def a_terabyte_that_begins(file):
    name = first_array(file)
    del file[name]
    made = file.create_dataset(name, (2**18, 2**20), "float32", chunks=(1, 2**10), compression=1)
    made[0, :10] = 1


def not_finite(file):
    file[first_array(file)][0] = np.nan


def missing(file):
    del file[first_array(file)]


def extra(file):
    file["layers/extra/vars/0"] = np.zeros(3, "float32")


def other_shape(file):
    name = first_array(file)
    del file[name]
    file[name] = np.zeros((2, 2), "float32")


def a_pickle(file):
    file["layers/x"] = np.void(pickle.dumps(never))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (external_link, "'x' is a ExternalLink"),
        (virtual, "is stored in another file"),
        (four_terabytes, "has no data"),
        (a_terabyte_that_begins, "of shape .262144, 1048576. is stored in chunks"),
        (not_finite, "not finite"),
        (missing, "missing|cannot be loaded"),
        (extra, "1 are not expected"),
        (other_shape, "shape|cannot be loaded"),
        (a_pickle, "expected floats"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_hostile_weights(entry, edit, message):
    """The card has the checksums of the hostile file: its publisher writes both."""
    with h5py.File(entry / WEIGHTS_FILE, "a") as file:
        edit(file)
    write_checksums(entry)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(IntegrityError, match=message):
            zoo.load("drawn")


class Executed:
    def __reduce__(self):
        return never, ()


def pickled_npz():
    content = io.BytesIO()
    np.savez(content, weights=np.array([Executed()], object))
    return content.getvalue()


def keras_archive(tmp_path):
    """What `load_model` would run."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Lambda(lambda x: x + 1)])
    model.save(tmp_path / "lambda.keras")
    return (tmp_path / "lambda.keras").read_bytes()


@pytest.mark.parametrize("kind", ["npz", "keras", "pickle", "text"])
def test_other_files_under_the_name_of_weights(entry, kind, tmp_path):
    contents = {
        "npz": pickled_npz,
        "keras": lambda: keras_archive(tmp_path),
        "pickle": lambda: pickle.dumps(Executed()),
        "text": lambda: b"weights",
    }
    (entry / WEIGHTS_FILE).write_bytes(contents[kind]())
    write_checksums(entry)
    with pytest.raises(IntegrityError, match=f"{WEIGHTS_FILE}: not a sound HDF5 file"):
        zoo.load("drawn")


CONFIGURATIONS = pytest.mark.parametrize(
    "changes",
    [
        {"architecture": "lambda"},
        {"architecture": ["small"]},
        {"architecture": {"class_name": "Lambda", "module": "keras.layers"}},
        {"parts": 10**9},
        {"parts": True},
        {"parts": "3"},
        {"size": 10**9},
        {"size": 65.0},
        {"size": float("nan")},
        {"output_stride": 1},
        {"output_stride": [8]},
        {"fit": "exec"},
        {"part_names": "abc"},
        {"part_names": [1, 2, 3]},
        {"part_names": ["a"]},
        {"preprocessing": "os.system"},
        {"preprocessing": {"multiplier": 1}},
        {"module": "os"},
        {"format": 99},
    ],
    ids=str,
)


@CONFIGURATIONS
def test_configurations_without_a_card(preset, changes):
    path = preset / CONFIG_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(IntegrityError, match="segmenter|preprocessing"):
        zoo.load(preset)


@CONFIGURATIONS
def test_configurations_outside_their_ranges(entry, changes):
    path = entry / CONFIG_FILE
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(config))
    with pytest.raises(IntegrityError, match=CONFIG_FILE):
        zoo.load("drawn")
    # And with a card of the same configuration.
    with pytest.raises(IntegrityError):
        write_checksums(entry, segmenter=config)
        zoo.load("drawn")


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{", b"[" * 100_000, b"{" + b" " * 2**20 + b"}", b"\x80\x04cos\nsystem\n"],
    ids=lambda content: repr(content[:9]),
)
def test_files_that_are_not_a_configuration(entry, content):
    (entry / CONFIG_FILE).write_bytes(content)
    write_checksums(entry)
    with pytest.raises(IntegrityError, match=CONFIG_FILE):
        zoo.load("drawn")


def test_a_card_that_shows_another_configuration(entry):
    card = json.loads((entry / CARD_FILE).read_text())
    write_checksums(entry, segmenter=card["segmenter"] | {"size": 129})
    with pytest.raises(IntegrityError, match="differs from the configuration on card.json"):
        zoo.load("drawn")


@pytest.fixture
def preset(run_and_segmenter, tmp_path):
    """A segmenter without a card, from an unknown sender."""
    return shutil.copytree(run_and_segmenter[0] / "segmenter", tmp_path / "preset")


def test_segmenters_without_a_card_are_checked_too(preset):
    with h5py.File(preset / WEIGHTS_FILE, "a") as file:
        external_link(file)
    with pytest.raises(IntegrityError, match="ExternalLink"):
        zoo.load(preset)
    (preset / WEIGHTS_FILE).unlink()
    with pytest.raises(IntegrityError, match=WEIGHTS_FILE):
        zoo.load(preset)


@pytest.mark.backend
@pytest.mark.slow
def test_models_of_the_package_are_sound(eager):
    for card in zoo.list():
        found = zoo.verify(card.name)
        assert found["difference"] <= found["tolerance"] == 1e-4
        assert isinstance(card, Card)
        # The wheel stays small.
        assert sum(record.size for record in card.files.values()) < 12e6
