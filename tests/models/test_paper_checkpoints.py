"""Checkpoints in the form of the paper's public code, with the reference's random weights."""

from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

from keras_parts.cli import main
from keras_parts.errors import ConfigError, DataError
from keras_parts.metrics import PROTOCOLS, SegmenterModel
from keras_parts.models.paper_checkpoints import from_released, predicts_background
from keras_parts.models.segmenter import PartSegmenter
from tests.backbones.reference import reference_state
from tests.small import small_segmenter

torch = pytest.importorskip("torch")
MEANS = (104.007, 116.669, 122.679)


def stored(path, arrays):
    state = {name: torch.from_numpy(np.asarray(value)) for name, value in arrays.items()}
    torch.save({"iter": 60000, "model_state_dict": state}, path)
    return path


@pytest.mark.slow
def test_a_converted_checkpoint_has_the_logits_of_the_reference(reference, tmp_path):
    path = stored(tmp_path / "released.pth", reference_state(reference))
    result = CliRunner().invoke(main, ["convert", str(path), "-o", str(tmp_path / "segmenter")])
    assert result.exit_code == 0 and "5 parts" in result.stdout
    segmenter = PartSegmenter.from_preset(tmp_path / "segmenter")
    assert segmenter.num_parts == 5 and not predicts_background(segmenter)
    # The network's input was an RGB image minus the means of BGR.
    images = reference["network_input"].transpose(0, 2, 3, 1) + MEANS
    logits = np.asarray(segmenter(images.astype("float32")))
    expected = reference["network_logits"].transpose(0, 2, 3, 1)
    np.testing.assert_allclose(logits[..., 1:], expected, atol=1e-4 * np.abs(expected).max())
    assert logits.argmax(-1).min() > 0  # no pixel is background
    maps = SegmenterModel(segmenter)
    samples = [SimpleNamespace(part_labels=())]
    assert PROTOCOLS["pixels-full-model"].missing(maps, samples) == (
        "a model with a background of its own"
    )
    assert SegmenterModel(small_segmenter()).has_background


def test_files_that_are_no_released_checkpoint(tmp_path):
    with pytest.raises(DataError, match="nosuch.pth: "):
        from_released(tmp_path / "nosuch.pth")
    with pytest.raises(DataError, match="no checkpoint of the paper's DeepLab"):
        from_released(stored(tmp_path / "other.pth", {"conv1.weight": np.zeros(3)}))


def test_code_in_a_file_is_not_executed(tmp_path):
    class Harmful:
        def __reduce__(self):
            return (tmp_path / "harm").touch, ()

    torch.save({"model_state_dict": Harmful()}, tmp_path / "harmful.pth")
    with pytest.raises(DataError, match="harmful.pth: not a readable .pth file"):
        from_released(tmp_path / "harmful.pth")
    assert not (tmp_path / "harm").exists()


def test_a_pytorch_that_would_execute_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")
    with pytest.raises(ConfigError, match="CVE-2025-32434"):
        from_released(stored(tmp_path / "released.pth", {}))
