import numpy as np
import pytest

from keras_parts.images.geometry import resize_geometry
from keras_parts.images.upsampling import Patch, UpsampledLogits
from keras_parts.results.parts import Parts


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("mode", ["pad", "stretch", "short"])
@pytest.mark.parametrize("size", [(40, 60), (200, 30), (1, 1), (33, 33), (300, 900)])
def test_rows_are_interpolated_linearly(size, mode, aligned):
    geometry = resize_geometry(*size, 33, mode)
    counts = [side // 16 + 1 for side in geometry.input_size]
    logits = np.random.default_rng(0).normal(size=(*counts, 4)).astype(np.float32)
    wanted = interpolated(logits, geometry, aligned)
    patch = Patch.from_output(logits, geometry, aligned_corners=aligned)
    upsampled = UpsampledLogits(size, [patch])
    assert upsampled.shape == (*size, 4)
    np.testing.assert_allclose(np.asarray(upsampled), wanted, atol=1e-5)
    middle = size[0] // 2
    rows = upsampled.rows(middle, size[0])
    np.testing.assert_allclose(np.moveaxis(rows, 0, -1), wanted[middle:], atol=1e-5)
    np.testing.assert_array_equal(Parts(upsampled).labels, Parts(np.asarray(upsampled)).labels)


def interpolated(maps, geometry, aligned):
    """A map at the pixels of the image, axis by axis with `numpy.interp`."""
    for axis in (0, 1):
        pixels = np.arange(geometry.original_size[axis])
        positions = geometry.to_input(np.stack([pixels, pixels], -1))[:, 1 - axis]
        length, count = geometry.input_size[axis], maps.shape[axis]
        centres = np.arange(count) * (length - 1) / max(count - 1, 1)
        if not aligned:
            centres = (np.arange(count) + 0.5) * length / count - 0.5
        maps = np.apply_along_axis(lambda line: np.interp(positions, centres, line), axis, maps)  # noqa: B023
    return maps


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("fit", ["pad", "stretch", "short", "tiles"])
@pytest.mark.parametrize("parts", [1, 2, 5])
def test_labels_are_those_of_upsampled_logits(parts, fit, aligned):
    """Labels of smooth and of random maps, at odd sizes: decided by the rule itself."""
    rng = np.random.default_rng(parts)
    for size in [(1, 1), (7, 90), (41, 63), (150, 101)]:
        for blur in (0, 2):
            upsampled = random_logits(rng, size, parts, fit, aligned, blur)
            logits = np.asarray(upsampled).astype(np.float64)
            wanted = 1 + logits[..., 1:].argmax(-1)
            wanted[logits[..., 0] >= np.log(np.exp(logits[..., 1:]).sum(-1))] = 0
            np.testing.assert_array_equal(Parts(upsampled).labels, wanted)
            rows, columns = (rng.integers(0, side, 50) for side in size)
            np.testing.assert_array_equal(
                upsampled.at(rows, columns).T, np.asarray(upsampled)[rows, columns]
            )


def random_logits(rng, size, parts, fit, aligned, blur):
    def patch(rectangle, mode, **options):
        geometry = resize_geometry(*rectangle, 97, mode)
        maps = rng.normal(size=(*(side // 8 + 1 for side in geometry.input_size), 1 + parts))
        for _ in range(blur):
            maps = maps + np.roll(maps, 1, axis=0) + np.roll(maps, 1, axis=1)
        maps = maps.astype(np.float32)
        return Patch.from_output(maps, geometry, aligned_corners=aligned, **options)

    if fit != "tiles" or size[1] < 60:
        return UpsampledLogits(size, [patch(size, "pad" if fit == "tiles" else fit)])
    width, ramp = size[1] - 30, np.minimum(1, (np.arange(size[1] - 30) + 0.5) / (size[1] - 60))
    fades = ramp[::-1], 1 - np.append(ramp[::-1][30:], np.zeros(30))
    return UpsampledLogits(
        size,
        [
            patch((size[0], width), "pad", left=left, fade=(np.ones(size[0]), fade))
            for left, fade in zip((0, 30), fades, strict=True)
        ],
    )


def test_few_pixels_of_a_large_object_are_upsampled(monkeypatch):
    """A photograph of 1.9 million pixels with two parts: only pixels near borders need logits."""
    logits = np.full((65, 65, 3), -4, np.float32) + [4, 0, 0]
    logits[20:50, 10:50, 1] = logits[20:50, 30:50, 2] = 9
    logits[20:50, 10:30, 2] = logits[20:50, 30:50, 1] = -9
    upsampled = UpsampledLogits(
        (1200, 1600), [Patch.from_output(logits, resize_geometry(1200, 1600, 257))]
    )
    computed, at = [], UpsampledLogits.at
    monkeypatch.setattr(
        UpsampledLogits, "at", lambda *args: computed.append(len(args[1])) or at(*args)
    )
    labels = Parts(upsampled).labels
    assert set(np.unique(labels)) == {0, 1, 2} and 0 < sum(computed) < 0.08 * labels.size
