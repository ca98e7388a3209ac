"""Names that are given to parts, and parts that are joined."""

import json

import numpy as np
import pytest
from keras import ops

from keras_parts.errors import ConfigError
from keras_parts.models.forward import digest
from keras_parts.models.part_names import check_joined, check_part_names, join, unique_name
from keras_parts.models.segmenter import PartSegmenter, SegmenterConfig
from tests.small import random_images, register_tiny

NAMES = ("beak", "wing", "tail", "crown", "leg")


@pytest.fixture(scope="module")
def segmenter():
    return PartSegmenter(SegmenterConfig(5, register_tiny(), part_names=NAMES))


def logits(segmenter):
    images = np.stack(random_images((65, 65))).astype("float32")
    return ops.convert_to_numpy(segmenter(images)).astype("float64")


def probabilities(segmenter):
    odds = np.exp(logits(segmenter))
    return odds / odds.sum(-1, keepdims=True)


@pytest.mark.backend
def test_a_joined_part_has_the_sum_of_the_probabilities(segmenter):
    joined = segmenter.join_parts(["wing", 5], ["crown", "beak"])
    assert joined.part_names == ("beak and crown", "wing and leg", "tail")
    background, beak, wing, tail, crown, leg = np.moveaxis(logits(segmenter), -1, 0)
    expected = [background, np.logaddexp(beak, crown), np.logaddexp(wing, leg), tail]
    np.testing.assert_allclose(logits(joined), np.stack(expected, -1), rtol=1e-5, atol=1e-5)
    again = joined.join_parts(["tail", "beak and crown"])
    _, beak, wing, tail, crown, leg = np.moveaxis(probabilities(segmenter), -1, 0)
    expected = np.stack([beak + crown + tail, wing + leg], -1)
    np.testing.assert_allclose(probabilities(again)[..., 1:], expected, rtol=1e-5, atol=1e-6)
    assert again.config.joined == ((1, 3, 4), (2, 5)) and again.config.num_outputs == 5


def test_a_joined_segmenter_is_saved_and_cloned(segmenter, tmp_path):
    joined = segmenter.join_parts([2, 3])
    joined.part_names = ["beak", "back", "crown", "leg"]
    joined.save_preset(tmp_path)
    assert json.loads((tmp_path / "segmenter.json").read_text())["joined"][1] == [2, 3]
    again = PartSegmenter.from_preset(tmp_path)
    cloned = PartSegmenter.from_config(joined.get_config())
    cloned.set_weights(joined.get_weights())
    for other in (again, cloned):
        assert other.config == joined.config
        np.testing.assert_array_equal(logits(other), logits(joined))
    (parts,) = again.segment(random_images((30, 40)))
    assert parts.names == ("beak", "back", "crown", "leg") and parts.logits.shape == (30, 40, 5)


def test_a_segmenter_without_joined_parts_is_saved_as_before(segmenter):
    values = segmenter.config.to_json()
    assert "joined" not in values and SegmenterConfig.from_json(values) == segmenter.config
    before = digest(segmenter)
    segmenter.part_names = [f" {name}" for name in NAMES]
    assert segmenter.part_names == NAMES and digest(segmenter) == before
    with pytest.raises(ConfigError, match="the number of names is 3"):
        segmenter.part_names = ["a", "b", "c"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a", ""], "the name of part 2 is '': it is empty"),
        (["a", " "], "it is empty"),
        (["a", "b,c"], "has a comma"),
        (["a", "b;c"], "a semicolon"),
        (["a", 'b"c'], "a double quote"),
        (["a", "b\tc"], "a control character"),
        (["a", "b\u202ec"], "a control character"),
        (["a", "3"], "it is a number"),
        (["a", "b" * 101], "has 101 characters"),
        (["a", " a"], r"parts 1 and 2 are both called 'a': .* --join 1,2"),
        (["a"], "the model has 2 parts, but the number of names is 1: a"),
        (["a", 3], "expected texts"),
    ],
)
def test_names_are_checked(names, message):
    with pytest.raises(ConfigError, match=message):
        check_part_names(names, 2)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([["beak", "wnig"]], "no part 'wnig'; did you mean 'wing'\\?; there are 1 beak, 2 wing"),
        ([[0, 1]], "no part '0'; there are"),
        ([[1, 6]], "no part '6'; there are"),
        ([["²", 1]], "no part '²'"),
        ([[2]], "parts to join are 2: name two"),
        ([["wing", 2]], "parts to join are 2: name two"),
        ([[]], "are none"),
        (["12"], "expected a list"),
        ([[1, 2], [2, 3]], "part 2 is in two groups"),
        ([[1, 2, 3, 4, 5]], "all 5 parts"),
    ],
)
def test_parts_to_join_are_checked(groups, message):
    with pytest.raises(ConfigError, match=message):
        join(5, NAMES, (), groups)


def test_parts_without_names_are_joined_by_number_and_default_name():
    assert join(3, (), (), [["part 1", 3]]) == {
        "num_parts": 2, "part_names": (), "joined": ((1, 3), (2,))
    }  # fmt: skip


def test_names_of_joined_parts_are_valid_and_unique():
    names = ("a, b and c", "d", "e", "d and e")
    assert join(4, names, (), [[2, 3]])["part_names"] == ("a, b and c", "d and e 2", "d and e")
    joined = join(4, names, (), [[1, 2]])["part_names"]
    assert check_part_names(joined, 3) == ("a b and c and d", "e", "d and e")
    assert unique_name("a", {"a", "a 2"}) == "a 3"


@pytest.mark.parametrize(
    "joined",
    [5, "12", [1, 2], [[1], []], [[1], [3]], [[1], [1, 2]], [[1, 2]], [[1], [True, 2]],
     [[1], list(range(2, 67))]],
)  # fmt: skip
def test_damaged_groups_are_refused(joined):
    with pytest.raises(ConfigError, match="segmenter: joined is "):
        SegmenterConfig.from_json(SegmenterConfig(2, "small").to_json() | {"joined": joined})
    assert check_joined([[1], [2]], 2) == ()  # each part is one output
