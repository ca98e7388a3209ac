"""Bringing data sets into the form that is read fastest."""

from os import PathLike
from pathlib import Path

from keras_parts.errors import ConfigError


def prepare_cub_parts(
    data_dir: str | PathLike | None = None,
    output: str | PathLike | None = None,
    progress: bool = True,
) -> tuple[int, Path]:
    """Download, verify and pack CUB-200-2011 with TFDS.

    Args:
        data_dir: folder with both archives, to download nothing.
        output: TFDS' data folder; by default TFDS' own.
        progress: show TFDS' progress bars.

    Returns:
        (samples, TFDS' data folder).
    """
    from keras_parts.data.readers.cub_parts import cub_parts_builder

    builder = cub_parts_builder(output, data_dir, progress)
    samples = sum(split.num_examples for split in builder.info.splits.values())
    return samples, Path(builder.data_dir).parents[1]


def prepare_celebamask(
    data_dir: str | PathLike | None = None,
    output: str | PathLike | None = None,
    progress: bool = True,
) -> tuple[int, Path]:
    """Make label maps of CelebAMask-HQ's official layout; see `celebamask.prepare`."""
    from keras_parts.data.readers.celebamask import load_celebamask, prepare

    if data_dir is None or output is None:
        raise ConfigError("celebamask: name the official layout (data_dir) and a folder (output)")
    prepare(data_dir, output, progress=progress)
    return len(load_celebamask("all", output)), Path(output)


PREPARATIONS = {"cub_parts": prepare_cub_parts, "celebamask": prepare_celebamask}
"""Data set -> function `(data_dir, output, progress) -> (samples, folder)`."""
