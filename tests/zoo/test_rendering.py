import json

import pytest

from keras_parts.zoo.cards import Card
from keras_parts.zoo.rendering import to_markdown
from tests.zoo.entries import CARD, RECORD


def card(**fields):
    return Card.decode(json.dumps(CARD | fields).encode(), "card.json")


def test_everything_of_a_card_is_shown():
    text = to_markdown(card(files=CARD["files"] | {"picture.png": RECORD}, pairs=[[1, 2]]))
    for shown in (
        "# birds-4 1.0.0", "Two parts of birds.", "](picture.png)", 'zoo.load("birds-4@1.0.0")',
        "| 1 | head | #0072b2 | 25.0 % | tail |", "| 2 | tail | #e69f00 | 75.0 % | head |",
        "cub, split test, 1,090 images", "| cub-foreground | FG-NMI | 55.0 |  |",
        "- cub-foreground: box crop", "- data: cub (train), 1,200 images, 40 categories",
        "- seed: 1", "- steps: 320", "439,309 parameters", "## Intended use\n\nresearch",
        "## Limits\n\nbirds only", "- training data: research only", "somebody, 2021",
        RECORD["sha256"], "keras 3.15.1",
    ):  # fmt: skip
        assert shown in text, shown
    assert "picture" not in to_markdown(card())


def test_spread_over_seeds():
    seeds = [
        {"seed": seed, "values": {"cub-foreground": {"FG-NMI": value}}, "validation": {}}
        for seed, value in ((0, 50.0), (1, 54.0))
    ]
    found = CARD["evaluation"] | {"seeds": seeds, "chosen_by": "validation"}
    text = to_markdown(card(evaluation=found))
    assert "| cub-foreground | FG-NMI | 55.0 | 52.0 ± 2.8 |" in text
    assert "over the seeds 0, 1; this one, seed 1, was chosen by validation." in text


def test_where_the_weights_come_from():
    def text(architecture, **recipe):
        segmenter = CARD["segmenter"] | {"architecture": architecture}
        return to_markdown(
            card(segmenter=segmenter, training=CARD["training"] | {"recipe": recipe})
        )

    lite0 = text("efficientnet_lite0", backbone_weights="pretrained", teacher="dinov2_vits14")
    assert "- initial weights: EfficientNet-Lite0 trained on ImageNet, Apache-2.0" in lite0
    assert "- teacher: dinov2_vits14" in lite0
    assert "- initial weights: of the model cub-8" in text("efficientnet_lite0", init_from="cub-8")
    assert "- initial weights: random" in text("small", backbone_weights="random")


def test_a_card_without_numbers():
    assert "Not measured." in to_markdown(card(evaluation=None))


def test_texts_stay_in_their_cells():
    names = ["a | b", "c"]
    segmenter = CARD["segmenter"] | {"part_names": names}
    recipe = {"name": "x\x1b[2J\n| y |"}
    text = to_markdown(
        card(part_names=names, segmenter=segmenter, training=CARD["training"] | {"recipe": recipe})
    )
    assert "| 1 | a \\| b | #0072b2 |" in text
    assert "\x1b" not in text and "- recipe: x [2J \\| y \\|, all settings" in text


def test_model_page():
    pytest.importorskip("huggingface_hub")
    from keras_parts.zoo.hub_page import hub_page

    page = hub_page(card(), "hf://me/birds@v1")
    assert page.startswith("---\n") and "pipeline_tag: image-segmentation" in page
    assert "license: other" in page and "- type: FG-NMI\n      value: 55.04" in page
    assert 'keras_parts.zoo.load("hf://me/birds@v1", trust=True)' in page
    free = {"code": "MIT", "weights": "CC-BY-4.0", "data": "MIT"}
    assert "license: cc-by-4.0" in hub_page(card(licences=free, evaluation=None), "hf://me/birds")
