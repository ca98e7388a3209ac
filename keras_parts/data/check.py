"""Reads all of a data set and lists everything that is wrong with it."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os import PathLike

from tqdm import tqdm

from keras_parts.data import load
from keras_parts.data.problems import collected
from keras_parts.errors import DataError


@dataclass(frozen=True)
class CheckReport:
    """What `check` found.

    Attributes:
        samples: how many samples were looked at.
        problems: all of them, each naming its file, and its line or value.
        notes: what is worth telling and yet no problem.
    """

    samples: int
    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()


def check(
    name: str,
    split: str = "all",
    data_dir: str | PathLike | None = None,
    progress: bool = True,
    **options,
) -> CheckReport:
    """Read every table, picture and mask of a data set once.

    Args:
        name, split, data_dir, options: as of `keras_parts.data.load`.
        progress: show a progress bar.

    Raises:
        ConfigError: the name, the split or an option is unknown.
    """
    with collected() as problems:
        try:
            dataset = load(name, split, data_dir, **options)
        except DataError as error:  # nothing of it can be read
            return CheckReport(0, (*problems, str(error)))
        with tqdm(total=len(dataset), desc="checking", unit="image", disable=not progress) as bar:
            for found in _in_threads(dataset):
                problems += found
                bar.update()
    # What several samples share, such as the picture of two objects, is told of once.
    return CheckReport(len(dataset), tuple(dict.fromkeys(problems)), dataset.notes)


def _in_threads(dataset) -> Iterator[list[str]]:
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        yield from pool.map(dataset.problems, range(len(dataset)))
