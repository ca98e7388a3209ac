import numpy as np
import pytest

from keras_parts.results.rle import (
    coco_rle,
    cvat_rle,
    decode_coco_rle,
    label_studio_rle,
    run_lengths,
)

MASKS = {
    "noise": np.random.default_rng(0).random((13, 17)) > 0.5,
    "full": np.ones((3, 4), bool),
    "empty": np.zeros((3, 4), bool),
    "pixel": np.ones((1, 1), bool),
    "corner": np.eye(5, dtype=bool) * np.arange(5).astype(bool)[::-1, None],
    "wide": np.arange(70_000)[None] > 30_000,
}


@pytest.mark.parametrize("name", MASKS)
def test_run_lengths(name):
    mask = MASKS[name]
    runs = run_lengths(mask)
    assert runs.sum() == mask.size and (runs[1:] > 0).all()
    np.testing.assert_array_equal(np.repeat(np.arange(len(runs)) % 2, runs), mask.ravel())


@pytest.mark.parametrize("name", MASKS)
def test_coco(name):
    coco = pytest.importorskip("pycocotools.mask")
    encoded = coco_rle(MASKS[name])
    assert encoded["size"] == list(MASKS[name].shape) and isinstance(encoded["counts"], str)
    np.testing.assert_array_equal(coco.decode(encoded), MASKS[name])
    np.testing.assert_array_equal(decode_coco_rle(encoded, MASKS[name].shape), MASKS[name])
    plain = {"size": encoded["size"], "counts": run_lengths(MASKS[name].T).tolist()}
    np.testing.assert_array_equal(decode_coco_rle(plain, MASKS[name].shape), MASKS[name])


@pytest.mark.parametrize("name", MASKS)
def test_cvat(name):
    mask, found = MASKS[name], cvat_rle(MASKS[name])
    if not mask.any():
        assert found is None
        return
    runs = [int(run) for run in found["rle"].split(", ")]
    inside = np.repeat(np.arange(len(runs)) % 2, runs).reshape(found["height"], found["width"])
    again = np.zeros_like(mask)
    rows = slice(found["top"], found["top"] + found["height"])
    again[rows, found["left"] : found["left"] + found["width"]] = inside
    np.testing.assert_array_equal(again, mask)
    assert inside.any(axis=1)[[0, -1]].all() and inside.any(axis=0)[[0, -1]].all()


@pytest.mark.parametrize("window", [(1, 5, 2, 9), (0, 13, 3, 8), (2, 13, 0, 17), (4, 4, 2, 6)])
def test_windows_have_the_codes_of_the_whole_image(window):
    pytest.importorskip("pycocotools")
    top, bottom, left, right = window
    mask = np.zeros((13, 17), bool)
    mask[top:bottom, left:right] = MASKS["noise"][top:bottom, left:right]
    mask[top:bottom, left] = mask[top:bottom, right - 1] = True  # runs of two rows
    region = {"origin": (top, left), "size": mask.shape}
    for encode in (run_lengths, coco_rle, cvat_rle, label_studio_rle):
        whole, part = encode(mask), encode(mask[top:bottom, left:right], **region)
        assert np.array_equal(whole, part) if encode is run_lengths else whole == part


@pytest.mark.integration
@pytest.mark.parametrize("name", MASKS)
def test_label_studio_decodes_its_run_lengths(name):
    brush = pytest.importorskip("label_studio_sdk.converter.brush")
    pixels = brush.decode_rle(label_studio_rle(MASKS[name])).reshape(*MASKS[name].shape, 4)
    np.testing.assert_array_equal(pixels, 255 * MASKS[name][..., None].repeat(4, -1))
