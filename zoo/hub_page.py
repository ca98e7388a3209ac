"""The page of a model on Hugging Face."""

import re
from typing import Any

from keras_parts.extras import import_from_extra
from keras_parts.zoo.cards import Card
from keras_parts.zoo.rendering import to_markdown
from keras_parts.zoo.terms import commercial_use

_LICENCES = re.compile(
    r"apache-2\.0|mit|isc|bsd-[23]-clause|cc0-1\.0|cc-by(-sa|-nc|-nd|-nc-sa|-nc-nd)?-[1-4]\.\d",
    re.IGNORECASE,
)
"""Licences that Hugging Face knows by the same names."""


def hub_page(card: Card, address: str) -> str:
    """The README.md of a repository: metadata for the search, then the card.

    Args:
        card: of the model.
        address: of the repository, hf://USER/REPOSITORY.

    Raises:
        ConfigError: the library for Hugging Face is not installed.
    """
    hub = import_from_extra("huggingface_hub", "hf")
    data = hub.ModelCardData(
        library_name="keras-parts",
        pipeline_tag="image-segmentation",
        tags=["keras", "part-discovery", "unsupervised"],
        datasets=[card.training.dataset],
        model_name=card.name,
        eval_results=_results(card, hub) or None,
        **_licence(card),
    )
    return str(hub.ModelCard(f"---\n{data.to_yaml()}\n---\n\n{to_markdown(card, address=address)}"))


def _licence(card: Card) -> dict[str, str]:
    """The licence of the weights by its name; "other" if terms of data or models restrict it."""
    weights = card.licences.weights
    if _LICENCES.fullmatch(weights) and commercial_use(card.licences) is not False:
        return {"license": weights.lower()}
    # Described on the page itself, which has the terms of weights and data in full.
    return {"license": "other", "license_name": "see-licences", "license_link": "README.md"}


def _results(card: Card, hub: Any) -> list[Any]:
    evaluation = card.evaluation
    if evaluation is None:
        return []
    return [
        hub.EvalResult(
            task_type="image-segmentation",
            dataset_type=evaluation.dataset,
            dataset_name=f"{evaluation.dataset}, {protocol}",
            dataset_split=evaluation.split,
            metric_type=metric,
            metric_value=value,
        )
        for protocol, metrics in evaluation.values.items()
        for metric, value in metrics.items()
    ]
