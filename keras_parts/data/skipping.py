"""Leave out the samples of a data set that have a problem."""

import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from tqdm import tqdm

from keras_parts.data.dataset import Dataset, Subset
from keras_parts.data.problems import collect_problems, listed
from keras_parts.errors import DataError


def load_good_samples(load: Callable[[], Dataset]) -> Dataset:
    """Load a data set without the samples that have a problem.

    Every sample is read completely once, so that nothing fails later. A sample has a problem if one
    of its files or table lines is missing or damaged, if its mask is empty, or if it lacks an
    annotation that other samples have. One warning counts what is left out, and shows the first ten
    problems.

    Args:
        load: loads the data set.

    Returns:
        The data set itself if it has no problem; else a `Subset`, whose `left_out` lists all
        problems.

    Raises:
        DataError: a problem concerns all samples, such as a missing table; or every sample has one.
    """
    with collect_problems(of_samples=True) as in_tables:
        dataset = load()
    problems = _problems_of_samples(dataset)
    bad = [found[0] for found in problems if found]
    if not bad and not in_tables:
        return dataset
    summary = f"{len(bad)} of {len(problems)} images have a problem"
    if len(bad) == len(problems):
        raise DataError(listed(f"no image can be used: {summary}", [*in_tables, *bad]))
    texts = []
    if bad:
        texts.append(listed(f"left out: {summary}", _distinct(bad)))
        dataset = Subset(dataset, np.flatnonzero([not found for found in problems]))
    if in_tables:
        count = len(in_tables)
        entries = "1 entry has a problem" if count == 1 else f"{count} entries have a problem"
        texts.append(listed(f"left out: {entries}", in_tables))
    warnings.warn("\n".join(texts), stacklevel=3)
    every = [problem for found in problems for problem in found]
    dataset.left_out = tuple(_distinct([*in_tables, *every]))
    return dataset


def _problems_of_samples(dataset: Dataset) -> list[list[str]]:
    examined = _map(dataset.examine, len(dataset))
    expected = frozenset[str]().union(*(fields for found, fields in examined if not found))
    return [
        found or _missing(dataset, index, expected - fields)
        for index, (found, fields) in enumerate(examined)
    ]


def _missing(dataset: Dataset, index: int, fields: frozenset[str]) -> list[str]:
    """The annotations that a sample lacks, because their line in a table is damaged."""
    if not fields:
        return []
    names = ", ".join(sorted(fields)).replace("_", " ")
    return [f"{dataset.info.name}: {dataset.ids()[index]} lacks {names}, which other images have"]


def _map(examine, count):
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        results = pool.map(examine, range(count))
        return list(tqdm(results, "checking images", count, delay=2, leave=False))


def _distinct(problems: Sequence[str]) -> list[str]:
    # Two samples may have the same problem: two objects of a damaged image, for example.
    return list(dict.fromkeys(problems))
