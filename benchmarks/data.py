"""Samples/s of the input pipeline, stage by stage, compared with what a training step needs.

The stages are: decoding a sample, cropping it, making a batch of random crops, making a batch from
decoded images, from crops and from cached features in memory, and computing batches ahead in
threads. By default, drawn animals are written as JPEG files and read by the reader of folders;
`--dataset` takes any other data set.

    python benchmarks/data.py
    python benchmarks/data.py --dataset cub --data-dir ~/datasets/CUB_200_2011 --step 0.8
"""

import argparse
import os
import tempfile
import time
from itertools import count, islice
from pathlib import Path

import numpy as np
from measuring import Times, print_machine, print_table
from PIL import Image

from keras_parts import data
from keras_parts.data.batches import Batches
from keras_parts.data.crops import CropSettings, object_crop
from keras_parts.data.features import FeatureCache
from keras_parts.data.prefetch import computed_ahead

POSITIONS, CHANNELS = 21, 432  # side and channels of the default teacher's features
JITTERED, FIXED = CropSettings(), CropSettings(jitter=0.0)


def write_images(folder, number, size):
    """Drawn animals as JPEG files, each with a mask."""
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for i, sample in enumerate(data.load("toy", "train", count=number, size=size)):
        Image.fromarray(sample.image).save(folder / "images" / f"{i:04d}.jpg", quality=90)
        mask = sample.foreground.astype(np.uint8) * 255
        Image.fromarray(mask).save(folder / "masks" / f"{i:04d}.png")
    return data.load(
        "folder", "train", data_dir=str(folder / "images"), masks=str(folder / "masks")
    )


def cached_features(dataset, size):
    """Features of zeros for each sample, as a teacher would compute them."""

    def teacher(images):
        return np.zeros((len(images), POSITIONS, POSITIONS, CHANNELS), np.float32)

    return FeatureCache(
        dataset,
        FIXED,
        image_size=size,
        teacher=teacher,
        fingerprint="zeros",
        symmetric=True,
        folder=tempfile.mkdtemp(),
        progress=False,
    )


def batch_sources(dataset, options):
    """Batches without a cache, from decoded images, from crops, and from crops with features."""

    def batches(crops, features=None, cache_bytes=2**31):
        return Batches(
            dataset,
            crops,
            batch_size=options.batch,
            image_size=options.size,
            features=features,
            cache_bytes=cache_bytes,
            workers=options.workers,
        )

    features = cached_features(dataset, options.size)
    cached = batches(JITTERED), batches(FIXED), batches(FIXED, features)
    for source in cached:
        for step in range(len(dataset) // options.batch + 1):
            source.batch(step)  # fills the cache
    return batches(JITTERED, cache_bytes=0), *cached


def stages(dataset, options):
    """`{name: function that processes a given number of samples}`."""
    uncached, decoded, cropped, with_features = batch_sources(dataset, options)
    rng, steps = np.random.default_rng(0), count()

    def by_sample(function):
        return lambda number: [function(i % len(dataset)) for i in range(number)]

    def by_batch(source):
        return lambda number: [source.batch(next(steps)) for _ in range(number // options.batch)]

    def ahead(source):
        def run(number):
            chosen = islice(steps, number // options.batch)
            for _ in computed_ahead(source.batch, chosen, options.workers):
                pass

        return run

    return {
        "decode": by_sample(lambda i: dataset[i]),
        "decode, crop": by_sample(lambda i: object_crop(dataset[i], JITTERED, options.size, rng)),
        "batch: decode, random crop": by_batch(uncached),
        "batch: decoded in memory, random crop": by_batch(decoded),
        "batch: crops in memory": by_batch(cropped),
        "batch: crops in memory, cached features": by_batch(with_features),
        f"decode, random crop, {options.workers} threads": ahead(uncached),
        f"crops in memory, cached features, {options.workers} threads": ahead(with_features),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", help="a data set; by default drawn images")
    parser.add_argument("--data-dir")
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--size", type=int, default=257)
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--drawn-size", type=int, default=500)
    parser.add_argument("--samples", type=int, default=96, help="in each measurement")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2, help="threads")
    parser.add_argument("--step", type=float, help="duration of a training step in seconds")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        if options.dataset:
            settings = {"data_dir": options.data_dir} if options.data_dir else {}
            dataset = data.load(options.dataset, "train", **settings)
        else:
            dataset = write_images(Path(folder), options.images, options.drawn_size)
        functions = stages(dataset, options)
        clock = {name: [] for name in functions}
        processor = {name: [] for name in functions}
        for _ in range(options.repeats):
            for name, function in functions.items():
                used, began = time.process_time(), time.perf_counter()
                function(options.samples)
                clock[name].append((time.perf_counter() - began) / options.samples)
                processor[name].append((time.process_time() - used) / options.samples)

    print_machine()
    print(
        f"{dataset.info.name}, crops of {options.size} x {options.size}, batches of "
        f"{options.batch}; median (range) of {options.repeats} runs of {options.samples} samples.\n"
    )
    columns = ["stage", "wall-clock ms per sample", "processor ms per sample", "samples/s"]
    columns.append("samples/s of processor time")
    needed = options.batch / options.step if options.step else None
    if needed:
        columns.append(f"relative to the {needed:.1f} images/s of a step")
    rows = []
    for name in functions:
        wall, used = Times(tuple(clock[name])), Times(tuple(processor[name]))
        row = [name, wall.cell(1000, 3), used.cell(1000, 3), f"{1 / wall.median:.0f}"]
        row.append(f"{1 / max(used.median, 1e-9):.0f}")
        if needed:
            row.append(f"{1 / wall.median / needed:.1f} x")
        rows.append(row)
    print_table(columns, rows)


if __name__ == "__main__":
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    main()
