"""Convert data sets to the form that is fastest to read."""

from os import PathLike
from pathlib import Path

from keras_parts.data.archives import download_of
from keras_parts.errors import ConfigError


def prepare_cub_parts(
    data_dir: str | PathLike | None = None,
    output: str | PathLike | None = None,
    *,
    progress: bool = True,
) -> tuple[int, Path]:
    """Download CUB-200-2011, verify it and pack it with TensorFlow Datasets (TFDS).

    Args:
        data_dir: folder with both archives; None to download them, see `data.archives`.
        output: TFDS' data folder; None for TFDS' default.
        progress: show TFDS' progress bars.

    Returns:
        (number of samples, TFDS' data folder).

    Raises:
        ConfigError: TFDS is not installed.
        DataError: an archive is missing from `data_dir`, or cannot be downloaded.
        IntegrityError: an archive differs from the official one.
    """
    from keras_parts.data.readers.cub_parts import cub_parts_builder, is_prepared

    download = download_of("cub")
    if data_dir is None and download and not is_prepared(output):
        data_dir = download.fetch(progress=progress)
    builder = cub_parts_builder(output, data_dir, progress=progress)
    num_samples = sum(split.num_examples for split in builder.info.splits.values())
    return num_samples, Path(builder.data_dir).parents[1]


def prepare_celebamask(
    data_dir: str | PathLike | None = None,
    output: str | PathLike | None = None,
    *,
    progress: bool = True,
) -> tuple[int, Path]:
    """Convert CelebAMask-HQ from its official layout to label maps, see `write_label_maps`.

    Args:
        data_dir: folder of the official layout.
        output: folder for the label maps.
        progress: show a progress bar.

    Returns:
        (number of samples, `output`).

    Raises:
        ConfigError: one of the folders is not given.
        DataError: the data set is missing, incomplete or damaged.
    """
    from keras_parts.data.readers.celebamask import load_celebamask, write_label_maps

    if data_dir is None or output is None:
        raise ConfigError(
            "celebamask: give the folder of the official layout (data_dir) and one for the label "
            "maps (output)"
        )
    write_label_maps(data_dir, output, progress=progress)
    return len(load_celebamask("all", output)), Path(output)


PREPARATIONS = {"cub_parts": prepare_cub_parts, "celebamask": prepare_celebamask}
"""Data set -> function `(data_dir, output, *, progress) -> (number of samples, folder)`."""
