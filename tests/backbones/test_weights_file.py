import os
import zlib
from functools import partial

import h5py
import ml_dtypes
import numpy as np
import pytest

from keras_parts.backbones import weights_file
from keras_parts.backbones.weights_file import check_weights_file
from keras_parts.errors import IntegrityError

SHAPES = {"layers/dense/vars/0": (3, 4), "layers/dense/vars/1": (4,), "vars/0": ()}


@pytest.fixture
def weights(tmp_path):
    """Path of a sound file, as Keras writes them."""
    path = tmp_path / "model.weights.h5"
    with h5py.File(path, "w") as file:
        for name, shape in SHAPES.items():
            file[name] = np.ones(shape, "float32")
        file["layers/dense/vars"].attrs["name"] = "dense"
        file.create_group("layers/activation/vars")
    return path


def edited(path, edit):
    with h5py.File(path, "a") as file:
        edit(file)
    return path


def test_sound_files_pass(weights):
    assert check_weights_file(weights) == SHAPES
    assert check_weights_file(weights, SHAPES) == SHAPES


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
def test_floats_of_any_precision_pass(weights, dtype):
    edited(weights, lambda file: file.create_dataset("half", data=np.ones(3, dtype)))
    assert check_weights_file(weights)["half"] == (3,)


def bfloat16(file, value=1):
    file.create_dataset("half", data=np.full(3, value, ml_dtypes.bfloat16))
    file["half"].attrs["dtype"] = "bfloat16"


def test_bfloat16_passes_as_keras_writes_it(weights):
    edited(weights, bfloat16)
    assert check_weights_file(weights)["half"] == (3,)


def test_compressed_arrays_pass(weights):
    values = np.ones((64, 64), "float32")
    edited(
        weights,
        lambda file: file.create_dataset("x", data=values, compression="gzip", shuffle=True),
    )
    assert check_weights_file(weights)["x"] == (64, 64)


def external_link(file):
    file["layers/x"] = h5py.ExternalLink("other.h5", "/secret")


def soft_link(file):
    file["layers/x"] = h5py.SoftLink("/layers/dense/vars/0")


def dangling_link(file):
    file["layers/x"] = h5py.SoftLink("/nowhere")


def loop(file):
    file["layers/again"] = file["layers"]


def alias(file):
    file["layers/alias"] = file["layers/dense/vars/0"]


def named_type(file):
    file["layers/type"] = np.dtype("float32")


def integers(file):
    file["x"] = np.arange(3)


def texts(file):
    file["x"] = "text"


def objects(file):
    file.create_dataset("x", (2,), h5py.ref_dtype)


def compound(file):
    file["x"] = np.zeros(2, [("a", "f4"), ("b", "f4")])


def variable_length(file):
    file.create_dataset("x", (2,), h5py.vlen_dtype(np.dtype("float32")))


def empty(file):
    file["x"] = h5py.Empty("float32")


def virtual(file):
    layout = h5py.VirtualLayout((3,), "float32")
    layout[:] = h5py.VirtualSource("other.h5", "secret", (3,))
    file.create_virtual_dataset("x", layout)


def external_storage(file):
    file.create_dataset("x", (3,), "float32", external=[("other.raw", 0, 12)])


def unwritten(file):
    """4 TB that take no room."""
    file.create_dataset("x", (1024, 1024, 1024, 1024), "float32", chunks=(1, 1, 1024, 1024))


def astronomic(file):
    """Its number of bytes overflows 64 bits."""
    x = file.create_dataset("x", (1,), "float32", maxshape=(None,) * 1, chunks=(1,))
    x.resize((2**62,))
    x[0] = 1


def too_large(file):
    """16 GB, of which one chunk is there."""
    x = file.create_dataset("x", (2**32,), "float32", chunks=(2**17,), compression="gzip")
    x[:10] = 1


def lzf(file):
    file.create_dataset("x", data=np.ones(100, "float32"), compression="lzf")


def attribute(file):
    file["layers"].attrs["config"] = "{}"


def nan(file):
    file["layers/dense/vars/1"][2] = np.nan


def infinite(file):
    file["vars/0"][()] = np.inf


def bomb(file):
    """4,000 bytes of floats, whose chunk unpacks to 100 MB."""
    x = file.create_dataset("x", (1000,), "float32", chunks=(1000,), compression="gzip")
    packer = zlib.compressobj()
    packed = [packer.compress(bytes(2**20)) for _ in range(100)]
    x.id.write_direct_chunk((0,), b"".join([*packed, packer.flush()]))


def large_chunks(file):
    """A chunk of 1 GB, of which HDF5 reads all for 3 floats; it is not written here."""
    x = file.create_dataset("x", (3,), "float32", maxshape=(None,), chunks=(2**28,))
    x.id.write_direct_chunk((0,), bytes(12))


def many_chunks(file):
    x = file.create_dataset("x", (2**17,), "float32", chunks=(1,))
    x[0] = 1


def packed_twice(file):
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_chunk((3,))
    plan.set_deflate(1)
    plan.set_deflate(1)
    space = h5py.h5s.create_simple((3,))
    h5py.h5d.create(file.id, b"x", h5py.h5t.IEEE_F32LE, space, plan)


def long_name(file):
    file["layers"].attrs["name"] = np.bytes_("x" * 2000)


def lists_of_numbers(file):
    values = np.empty(1, object)
    values[0] = np.ones(3, "float32")
    file["layers"].attrs.create("name", values, dtype=h5py.vlen_dtype(np.dtype("float32")))


def shared_texts(file):
    file["layers"].attrs.create("name", ["text"] * 3, dtype=h5py.string_dtype())


def stored_in_part(file):
    file.create_dataset("x", (4,), "float32", chunks=(2,), fillvalue=7)[0] = 1


def too_large_for_float32(file):
    file["x"] = np.full(3, 1e300)


HOSTILE = [
    (external_link, "'x' is a ExternalLink"),
    (soft_link, "'x' is a SoftLink"),
    (dangling_link, "'x' is a SoftLink"),
    (loop, "linked twice"),
    (alias, "linked twice"),
    (named_type, "neither a group nor an array"),
    (integers, "x has type int64"),
    (texts, "x has type object"),
    (objects, "x has type object"),
    (compound, "x has type"),
    (variable_length, "x has type object"),
    (empty, "expected floats"),
    (virtual, "is stored in another file"),
    (external_storage, "is stored in another file"),
    (unwritten, "has no data"),
    (astronomic, "is stored in chunks of (1,)"),
    (too_large, "declares 17,179,869,"),
    (lzf, "x has the filters [32000], expected gzip"),
    (attribute, "attributes that weights do not have: ['config']"),
    (bomb, "x: the chunk at (0,) unpacks to more than its 4,004 bytes"),
    (large_chunks, "is stored in chunks of (268435456,)"),
    (many_chunks, "expected at most 65,536 chunks"),
    (packed_twice, "x has the filters [1, 1], expected gzip"),
    (long_name, "layers has an attribute 'name' that is not a short text"),
    (lists_of_numbers, "layers has an attribute 'name' that is not a short text"),
    (nan, "layers/dense/vars/1 has values that are not finite"),
    (partial(bfloat16, value=np.inf), "half has values that are not finite"),
    (lambda file: file.create_dataset("x", data=np.zeros(3, "V2")), "x has type |V2"),
    (infinite, "vars/0 has values that are not finite"),
    (shared_texts, "layers has an attribute 'name' that is not a short text"),
    (stored_in_part, "x: 1 of 2 chunks are stored"),
    (too_large_for_float32, "x has values that are not finite"),
]


@pytest.mark.parametrize(("edit", "message"), HOSTILE, ids=lambda x: getattr(x, "__name__", ""))
def test_hostile_files_are_refused(weights, edit, message):
    edited(weights, edit)
    with pytest.raises(IntegrityError) as caught:
        check_weights_file(weights)
    assert message in str(caught.value)
    assert weights.name in str(caught.value)


def test_external_links_are_not_followed(weights, tmp_path):
    """Not even to a valid file."""
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["secret"] = np.ones(3, "float32")
    edited(weights, external_link)
    with pytest.raises(IntegrityError, match="ExternalLink"):
        check_weights_file(weights)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extra": (2,)}, "1 arrays are missing \\['extra'\\], 0 are not expected"),
        ({"vars/0": None}, "0 arrays are missing \\[\\], 1 are not expected \\['vars/0'\\]"),
        ({"vars/0": (1,)}, "vars/0 has the shape \\(\\), expected \\(1,\\)"),
    ],
)
def test_arrays_must_be_the_expected_ones(weights, change, message):
    expected = {name: shape for name, shape in (SHAPES | change).items() if shape is not None}
    with pytest.raises(IntegrityError, match=message):
        check_weights_file(weights, expected)


def test_limit_on_bytes(weights):
    declared = 4 * (12 + 4 + 1)
    check_weights_file(weights, max_bytes=declared)
    with open(weights, "ab") as file:
        file.truncate(2**20 + declared + 1)  # takes no room
    with pytest.raises(IntegrityError, match="has 1,048,645 bytes, expected 1,048,644 at most"):
        check_weights_file(weights, max_bytes=declared)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipes_are_not_opened(tmp_path):
    os.mkfifo(tmp_path / "model.weights.h5")
    with pytest.raises(IntegrityError, match="is a pipe, a socket or a device, expected a reg"):
        check_weights_file(tmp_path / "model.weights.h5")


def test_declared_bytes_are_limited(weights):
    declared = 4 * (12 + 4 + 1)
    with pytest.raises(IntegrityError, match=f"declares {declared} bytes"):
        check_weights_file(weights, max_bytes=declared - 1)


def test_deep_nesting_does_not_exhaust_the_stack(weights):
    edited(weights, lambda file: file.create_group("/".join("g" * 3000)))
    assert check_weights_file(weights) == SHAPES


def test_what_ends_or_blocks_hdf5_does_so_in_another_process(weights, monkeypatch):
    """Chunks are read there first; this process reads them only if that was well."""
    edited(weights, lambda file: file.create_dataset("x", data=np.ones(9), compression="gzip"))
    monkeypatch.setattr(weights_file, "_READ_ALL", "import os; os.abort()")
    with pytest.raises(IntegrityError, match=r"ends the process that reads it \(-6\)"):
        check_weights_file(weights)
    monkeypatch.setattr(weights_file, "_READ_ALL", "import time; time.sleep(9)")
    monkeypatch.setattr(weights_file, "_MAX_SECONDS", 0.2)
    with pytest.raises(IntegrityError, match=r"not read within 0\.2 s"):
        check_weights_file(weights)


@pytest.mark.parametrize("content", [b"", b"not HDF5", b"\x89HDF\r\n\x1a\n" + bytes(100)])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "model.weights.h5"
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match="not a sound HDF5 file"):
        check_weights_file(path)


def test_missing_file(tmp_path):
    with pytest.raises(IntegrityError, match=r"none\.h5"):
        check_weights_file(tmp_path / "none.h5")


def test_truncation_at_any_byte_is_an_error(weights):
    content = weights.read_bytes()
    for length in range(0, len(content) - 1, 397):
        weights.write_bytes(content[:length])
        with pytest.raises(IntegrityError):
            check_weights_file(weights)


def test_damage_anywhere_raises_nothing_else(weights):
    """Bytes all over the file flipped, one at a time: sound, or an IntegrityError."""
    content = weights.read_bytes()
    for position in range(0, len(content), 101):
        damaged = bytearray(content)
        damaged[position] ^= 0xFF
        weights.write_bytes(damaged)
        try:
            check_weights_file(weights, SHAPES)
        except IntegrityError:
            pass


def nan_in_first(file):
    file["layers/dense/vars/0"][0] = np.nan


def number_as_name_at_root(file):
    file.attrs["name"] = 3.0


@pytest.mark.backend
def test_weights_are_loaded_only_if_they_are_exactly_those_of_the_model(tmp_path):
    import keras

    from keras_parts.backbones.weights_file import load_weights

    path = tmp_path / "x.weights.h5"
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="dense")])
    model.save_weights(path)
    values = model.get_weights()
    model.set_weights([value + 1 for value in values])
    load_weights(model, path)
    assert (model.get_weights()[0] == values[0]).all()
    for edit in (nan_in_first, texts, number_as_name_at_root):
        edited(path, edit)
        with pytest.raises(IntegrityError):
            load_weights(model, path)
        model.save_weights(path)


def test_files_of_keras_2(tmp_path):
    """Layers and arrays are listed in attributes."""
    import keras

    from keras_parts.backbones.weights_file import load_weights

    path = tmp_path / "old.h5"
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="dense")])
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"dense"]
        file.attrs["backend"], file.attrs["keras_version"] = "tensorflow", "2.4.0"
        layer = file.create_group("dense")
        layer.attrs["weight_names"] = [b"dense/kernel:0", b"dense/bias:0"]
        layer["dense/kernel:0"] = np.full((3, 2), 5, "float32")
        layer["dense/bias:0"] = np.zeros(2, "float32")
    load_weights(model, path)
    assert (model.get_weights()[0] == 5).all()
    edited(path, external_link)
    with pytest.raises(IntegrityError, match="ExternalLink"):
        load_weights(model, path)


@pytest.mark.backend
def test_layout_is_that_of_saved_weights(tmp_path):
    import keras

    from keras_parts.backbones.weights_file import weights_layout

    def model(units):
        inputs = keras.Input((4,))
        hidden = keras.layers.Dense(units, name="hidden")(inputs)
        return keras.Model(inputs, keras.layers.BatchNormalization(name="norm")(hidden))

    model(3).save_weights(tmp_path / "x.weights.h5")
    layout = check_weights_file(tmp_path / "x.weights.h5", weights_layout(model(3)))
    assert sorted(layout.values()) == [(3,)] * 5 + [(4, 3)]
    with pytest.raises(IntegrityError, match="expected \\(4, 5\\)|expected \\(5,\\)"):
        check_weights_file(tmp_path / "x.weights.h5", weights_layout(model(5)))
