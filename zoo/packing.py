"""From a training run to an entry of the zoo."""

import json
import shutil
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path

from keras_parts.errors import DataError
from keras_parts.zoo.cards import CARD_FILE, CONFIG_FILE, WEIGHTS_FILE, Card, FileRecord


def pack(
    run: str | PathLike,
    destination: str | PathLike,
    name: str,
    dataset: str,
    split: str = "train",
    version: str = "1.0.0",
    part_names: Iterable[str] = (),
    metrics: Mapping[str, Mapping[str, float]] | None = None,
    licence: str = "Apache-2.0",
    data_licence: str = "",
    about: str = "",
) -> Card:
    """Make an entry of a training run's segmenter: its files, and a card that pins them.

    Args:
        run: the folder of the run.
        destination: the entry's folder, made if need be; its card is written last.
        name, dataset, split, version, licence, data_licence, about: see `Card`.
        part_names: one a part; the segmenter's own when empty.
        metrics: protocol -> metric -> per cent, as `Report.values`.

    Returns:
        The card.

    Raises:
        DataError: the folder holds no finished run.
        IntegrityError: the weights are not only weights, or a field of the card is wrong.
    """
    from keras_parts.images import atomic_path, atomic_write
    from keras_parts.parts import numbered_names
    from keras_parts.safety import check_weights_file
    from keras_parts.training.run_folder import RunFolder

    folder, destination = RunFolder(run), Path(destination)
    config = folder.read_config()
    try:
        segmenter = json.loads((folder.segmenter / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{run}: its training has left no segmenter yet: {error}") from None
    check_weights_file(folder.segmenter / WEIGHTS_FILE)
    segmenter["part_names"] = [*part_names] or segmenter["part_names"]

    destination.mkdir(parents=True, exist_ok=True)
    with atomic_path(destination / WEIGHTS_FILE) as path:
        shutil.copyfile(folder.segmenter / WEIGHTS_FILE, path)
    with atomic_write(destination / CONFIG_FILE, "w") as file:
        json.dump(segmenter, file, indent=2)
    card = Card(
        name=name,
        version=version,
        dataset=dataset,
        split=split,
        parts=segmenter["parts"],
        part_names=tuple(segmenter["part_names"]) or numbered_names(segmenter["parts"]),
        architecture=segmenter["architecture"],
        recipe=config["settings"]["name"],
        seed=config["seed"],
        metrics=metrics or {},
        files={file: FileRecord.of(destination / file) for file in (CONFIG_FILE, WEIGHTS_FILE)},
        licence=licence,
        data_licence=data_licence,
        about=about,
    )
    with atomic_write(destination / CARD_FILE, "w") as file:
        json.dump(card.to_json(), file, indent=2)
    return card
