"""Read a data set completely and list all its problems."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os import PathLike
from typing import Any

from tqdm import tqdm

from keras_parts.data.advice import advice
from keras_parts.data.catalogue import load
from keras_parts.data.dataset import Dataset, Subset
from keras_parts.data.problems import collect_problems
from keras_parts.errors import DataError


@dataclass(frozen=True)
class CheckReport:
    """The result of `check`.

    Attributes:
        num_samples: number of samples checked.
        problems: all problems, each with the file and the line or value.
        notes: remarks that are not problems, see `Dataset.notes`.
        advice: what makes good parts unlikely, see `keras_parts.data.advice.advice`; of the
            samples without a problem.
        num_sound: number of samples without a problem.
    """

    num_samples: int
    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()
    num_sound: int = 0


def check(
    name: str,
    split: str = "all",
    data_dir: str | PathLike | None = None,
    *,
    progress: bool = True,
    **options: Any,
) -> CheckReport:
    """Read every table, image and mask of a data set once.

    Args:
        name: name of the data set, as for `keras_parts.data.load`.
        split: name of the split.
        data_dir: folder of the data; None for the reader's default folder.
        progress: show a progress bar.
        options: options of the reader, as for `keras_parts.data.load`; with `skip_bad` as well,
            all problems are listed.

    Raises:
        ConfigError: the name, the split or an option is unknown.

    Example:
        >>> from keras_parts.data.check import check
        >>> check("toy", "train", count=30, progress=False)
        CheckReport(num_samples=30, problems=(), notes=(), advice=(), num_sound=30)
    """
    options.pop("skip_bad", None)
    with collect_problems() as problems:
        try:
            dataset = load(name, split, data_dir, progress=progress, **options)
        except DataError as error:  # no sample can be read
            return CheckReport(0, (*problems, str(error)))
        sound = []
        with tqdm(total=len(dataset), desc="checking", unit="image", disable=not progress) as bar:
            for index, found in enumerate(_problems_of_samples(dataset)):
                problems += found
                sound += [] if found else [index]
                bar.update()
    # Two samples may report the same file: two objects of an image, for example.
    unique = tuple(dict.fromkeys(problems))
    said = advice(Subset(dataset, sound)) if sound else ()
    return CheckReport(len(dataset), unique, dataset.notes, said, len(sound))


def _problems_of_samples(dataset: Dataset) -> Iterator[list[str]]:
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        yield from pool.map(dataset.problems, range(len(dataset)))
