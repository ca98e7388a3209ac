"""What is known of the images that a model was trained on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_parts.errors import DataError
from keras_parts.training.run_folder import run_of_segmenter
from keras_parts.zoo.cards import CARD_FILE, read_card


def training_data(folder: Path) -> Mapping[str, Any]:
    """The record of a model's training data, from its card or its run; empty if it has neither.

    Args:
        folder: of the segmenter.

    Returns:
        "dataset" and "split" of a card; for a run, see `keras_parts.training.data_record`.

    Raises:
        IntegrityError: the card is damaged.

    Example:
        >>> from keras_parts import zoo
        >>> from keras_parts.zoo.training_data import training_data
        >>> training_data(zoo.path("toy"))
        {'dataset': 'toy', 'split': 'train'}
    """
    if (folder / CARD_FILE).is_file():
        training = read_card(folder).training
        return {"dataset": training.dataset, "split": training.split}
    run = run_of_segmenter(folder)
    try:
        return run.read_config().get("data", {}) if run else {}
    except DataError:
        return {}
