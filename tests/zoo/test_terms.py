import json

import pytest

from keras_parts.training.origins import Origin
from keras_parts.zoo.cards import Card, Licences
from keras_parts.zoo.terms import NO_LICENCE, commercial_use, inherit, own_terms
from tests.zoo.entries import CARD

CUB = Origin("cub@2.0.0", "initialisation", "research only", "CC-BY-NC-4.0")
MINE = Origin("mine@1.0.0", "teacher", inherit("the owner's", [CUB], "data"), "CC0-1.0")


def test_terms_pass_from_model_to_model_and_each_is_named_once():
    assert inherit("mine", [], "data") == "mine"
    terms = inherit("mine", [CUB, MINE], "data")
    assert terms == (
        "mine; inherited from cub@2.0.0 (initialisation, teacher): research only; "
        "inherited from mine@1.0.0 (teacher): the owner's"
    )
    assert inherit(terms, [CUB, MINE], "data") == terms and own_terms(terms) == "mine"
    assert inherit("mine", [Origin("other", "teacher")], "data").endswith("(teacher): unknown")
    assert inherit("research only", [CUB], "data") == "research only"


def test_the_licence_of_weights_passes_to_what_is_initialised_with_them():
    assert inherit("CC0-1.0", [MINE], "weights") == "CC0-1.0"
    expected = "CC0-1.0; inherited from cub@2.0.0 (initialisation): CC-BY-NC-4.0"
    assert inherit("CC0-1.0", [CUB, MINE], "weights") == expected


@pytest.mark.parametrize(
    ("weights", "data", "allowed"),
    [
        ("Apache-2.0", "Apache-2.0 (https://example.org)", True),
        ("CC-BY-4.0", "CC0-1.0; inherited from a@1.0.0 (teacher): MIT", True),
        ("MIT", "CC0-1.0; inherited from a@1.0.0 (teacher): unknown", None),
        ("MIT", "the owner's", None),
        ("my own", "MIT", None),
        ("MIT", "Images from Flickr, for non-commercial research and education", False),
        ("MIT", "CC0-1.0; inherited from cub@2.0.0 (teacher): research only", False),
        ("CC-BY-NC-4.0", "MIT", False),
        (NO_LICENCE, "MIT", False),
    ],
)
def test_commercial_use(weights, data, allowed):
    found = commercial_use(Licences(code="Apache-2.0", weights=weights, data=data))
    assert found is allowed


def test_the_terms_of_a_card_in_a_line():
    card = Card.decode(json.dumps(CARD).encode(), "card.json")
    assert str(card.licences) == "weights: Apache-2.0; training data: research only"
