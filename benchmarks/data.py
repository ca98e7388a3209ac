"""Samples/s of the input pipeline, stage by stage, beside what a training step eats.

Each stage contains those before it: decoding a sample, cutting its crop out, making a batch of
such (first the way of crops that change, then that of crops that are kept, then with the cached
features), and the batches computed ahead in threads. Pictures are drawn, written as JPEG and read
again through the reader of folders; with `--dataset` they are those of any data set.

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

CELLS, CHANNELS = 21, 432  # of the default teacher's features


def write_pictures(folder, number, size):
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


def stages(dataset, options):
    """`{name: function of a number that takes so many samples}`."""
    size, batch_size = options.size, options.batch
    moving, still = CropSettings(), CropSettings(jitter=0.0)
    rng = np.random.default_rng(0)

    def batches(crops, features=None, cache_bytes=2**31):
        return Batches(dataset, crops, batch_size, size, 0, features, cache_bytes, options.workers)

    def teacher(images):
        return np.zeros((len(images), CELLS, CELLS, CHANNELS), np.float32)

    folder = tempfile.mkdtemp()
    features = FeatureCache(
        dataset, still, size, teacher, "zeros", symmetric=True, folder=folder, progress=False
    )
    fresh, jittered, kept = batches(moving, cache_bytes=0), batches(moving), batches(still)
    cached = batches(still, features)
    for each in (jittered, kept, cached):
        for step in range(len(dataset) // batch_size + 1):
            each.batch(step)  # fills the memory
    steps = count()

    def by_sample(function):
        return lambda number: [function(i % len(dataset)) for i in range(number)]

    def by_batch(source):
        return lambda number: [source.batch(next(steps)) for _ in range(number // batch_size)]

    def ahead(source):
        def run(number):
            chosen = islice(steps, number // batch_size)
            for _ in computed_ahead(source.batch, chosen, options.workers):
                pass

        return run

    return {
        "decode": by_sample(lambda i: dataset[i]),
        "decode, crop": by_sample(lambda i: object_crop(dataset[i], moving, size, rng)),
        "batch: decode, random crop": by_batch(fresh),
        "batch: decoded in memory, random crop": by_batch(jittered),
        "batch: crops in memory": by_batch(kept),
        "batch: crops in memory, cached features": by_batch(cached),
        f"decode, random crop, {options.workers} threads": ahead(fresh),
        f"crops in memory, cached features, {options.workers} threads": ahead(cached),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", help="a data set; drawn pictures without it")
    parser.add_argument("--data-dir")
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--size", type=int, default=257)
    parser.add_argument("--pictures", type=int, default=48)
    parser.add_argument("--picture-size", type=int, default=500)
    parser.add_argument("--samples", type=int, default=96, help="in each measurement")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2, help="threads")
    parser.add_argument("--step", type=float, help="seconds that a step takes")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        if options.dataset:
            settings = {"data_dir": options.data_dir} if options.data_dir else {}
            dataset = data.load(options.dataset, "train", **settings)
        else:
            dataset = write_pictures(Path(folder), options.pictures, options.picture_size)
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
        f"{options.batch}; median (range) of {options.repeats} times {options.samples} samples.\n"
    )
    columns = ["stage", "wall-clock ms a sample", "processor ms a sample", "samples/s"]
    columns.append("samples/s of processor time")
    appetite = options.batch / options.step if options.step else None
    if appetite:
        columns.append(f"beside a step's {appetite:.1f} images/s")
    rows = []
    for name in functions:
        wall, used = Times(tuple(clock[name])), Times(tuple(processor[name]))
        row = [name, wall.cell(1000, 3), used.cell(1000, 3), f"{1 / wall.median:.0f}"]
        row.append(f"{1 / max(used.median, 1e-9):.0f}")
        if appetite:
            row.append(f"{1 / wall.median / appetite:.1f} x")
        rows.append(row)
    print_table(columns, rows)


if __name__ == "__main__":
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    main()
