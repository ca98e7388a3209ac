"""Images/s of `segment`, of the forward pass alone and of a plain loop; peak memory of `segment`.

The forward pass alone is compiled and runs on prepared inputs, in batches of the same size, once
for each image. `segment` sees each image once, or its objects again: its passes are counted, and it
is compared with as many passes alone. The
plain loop opens, segments and saves one image at a time. Each variant has its own process and the
same drawn images (or those of --images). It processes all images once, to compile and warm up, and
then in turns with the other variants; medians are reported. Processor time is that of all threads:
it is more reliable if other programs share the machine. Peak memory is that of the whole process.

    python benchmarks/segment.py                                # toy, 200 images of 640 x 480
    python benchmarks/segment.py --model runs/cub --images photos/ --count 64
    python benchmarks/segment.py --memory 100 2000 --repeats 0  # memory only
"""

import argparse
import functools
import json
import os
import platform
import statistics
import tempfile
from pathlib import Path

from measuring import Worker, peak_of_process, processor_timed, serve_requests, workers_in_turns

GOAL, GROWTH, SECOND_LOOK = 0.85, 0.10, 1.1
VARIANTS = {
    "forward": "forward pass alone",
    "segment": "`segment`, one format, one look",
    "segment twice": "the same, two looks",
    "loop": "plain loop: open, segment, save, one look",
}
_DRAWN = 16


def draw(folder, count, width, height):
    """Fill a folder with `count` noisy JPEG images: a few are drawn, the rest are links to them."""
    import numpy as np
    from PIL import Image

    from keras_parts.data import load

    folder.mkdir()
    rng = np.random.default_rng(0)
    for index, sample in enumerate(load("toy", "test", count=min(count, _DRAWN), size=321)):
        image = np.asarray(Image.fromarray(sample.image).resize((width, height)), np.int16)
        image = np.clip(image + rng.normal(0, 6, image.shape), 0, 255).astype(np.uint8)
        Image.fromarray(image).save(folder / f"{index}.jpg", quality=90)
    link(folder, count, [folder / f"{index}.jpg" for index in range(min(count, _DRAWN))])


def link(folder, count, images):
    """Add links to `images` until a folder has `count` files."""
    for index in range(len(list(folder.iterdir())), count):
        source = images[index % len(images)].resolve()
        (folder / f"{index}{source.suffix}").symlink_to(source)


def forward(segmenter, paths, batch_size):
    import numpy as np

    from keras_parts.images.decoding import read_image
    from keras_parts.models import create_predictor

    predictor = create_predictor(segmenter, batch_size)
    files = {path.resolve() for path in paths}
    inputs = {file: predictor.prepare(read_image(file)).inputs[0] for file in files}
    inputs = [inputs[path.resolve()] for path in paths]
    batches = [
        np.stack((inputs[start : start + batch_size] + inputs)[:batch_size])
        for start in range(0, len(inputs), batch_size)
    ]

    def work(output):
        for batch in batches:
            predictor.forward(batch)
        return len(inputs)

    return work


def segment(segmenter, paths, batch_size, looks=1):
    from keras_parts.inference import segment_files
    from keras_parts.models import create_predictor

    predictor = create_predictor(segmenter, batch_size, looks=looks)
    predict = predictor.predict

    def work(output):
        passes = 0

        def counted(inputs):
            nonlocal passes
            passes += len(inputs)
            return predict(inputs)

        predictor.predict = counted
        segment_files(predictor, paths, output, ["indexed"])
        return passes

    return work


def loop(segmenter, paths, batch_size):
    def work(output):
        for index, path in enumerate(paths):
            segmenter.segment(path, looks=1).indexed().save(output / f"{index}.png")
        return len(paths)

    return work


PREPARE = {
    "forward": forward,
    "segment": segment,
    "segment twice": functools.partial(segment, looks=2),
    "loop": loop,
}


def serve(variant, model, folder, batch_size):
    """Measure {"seconds", "processor", "bytes", "passes"} of a variant on all images, on each
    request."""
    from keras_parts import zoo

    work = PREPARE[variant](zoo.load(model), sorted(Path(folder).iterdir()), batch_size)

    def measure(_):
        with tempfile.TemporaryDirectory() as output:
            seconds, processor, passes = processor_timed(work, Path(output))
        used = {"seconds": seconds, "processor": processor, "bytes": peak_of_process()}
        return used | {"passes": passes}

    serve_requests(measure)


def worker(variant, options, folder):
    settings = {"variant": variant, "model": options.model, "folder": str(folder)}
    return Worker(__file__, settings | {"batch_size": options.batch_size})


def filled_folder(options, folder, count):
    """A new folder of `count` images, those of --images if given."""
    if options.images:
        from keras_parts.inference import find_images

        folder.mkdir()
        link(folder, count, [Path(file.path) for file in find_images([options.images])[:count]])
    else:
        draw(folder, count, *options.size)
    return folder


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="toy")
    parser.add_argument("--images", help="folder of images to use instead of drawn ones")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--size", type=int, nargs=2, default=(640, 480), metavar=("W", "H"))
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory", type=int, nargs="*", default=[100, 2000], metavar="COUNT")
    parser.add_argument("--worker", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        serve(**options.worker)
        return

    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    of = options.images or f"{options.size[0]} x {options.size[1]}"
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {backend}"
    print(f"{machine}: {os.path.basename(options.model)}")
    print(f"batches of {options.batch_size}, images of {of}\n")
    with tempfile.TemporaryDirectory() as folder:
        if options.repeats:
            speed(options, filled_folder(options, Path(folder, "speed"), options.count))
        if options.memory:
            memory(options, Path(folder))


def speed(options, folder):
    workers = {variant: worker(variant, options, folder) for variant in VARIANTS}
    runs = workers_in_turns(workers, options.repeats)
    print(f"{options.count} images, median of {options.repeats}\n")
    print(
        "| | images/s | passes per image | relative to these passes alone "
        "| processor ms per image | relative to these passes alone |"
    )
    print("|---|---:|---:|---:|---:|---:|")
    medians = {
        variant: {kind: statistics.median(run[kind] for run in measured) for kind in measured[0]}
        for variant, measured in runs.items()
    }
    alone = medians["forward"]
    for variant, name in VARIANTS.items():
        found = medians[variant]
        passes = found["passes"] / options.count
        wall, processor = (passes * alone[kind] / found[kind] for kind in ("seconds", "processor"))
        print(
            f"| {name} | {options.count / found['seconds']:.1f} | {passes:.2f} | {wall:.2f} "
            f"| {1e3 * found['processor'] / options.count:.1f} | {processor:.2f} |"
        )
    print(f"\nGoal for `segment`: at least {GOAL} of the passes alone.")
    one, two = medians["segment"], medians["segment twice"]
    again = (two["passes"] - one["passes"]) / options.count
    costs = ((two[kind] - one[kind]) / alone[kind] / again for kind in ("seconds", "processor"))
    text = "A second look costs {:.2f} forward passes, and {:.2f} in processor time".format(*costs)
    print(f"{text}; goal: at most {SECOND_LOOK}.\n" if again else "No image has a second look.\n")


def memory(options, folder):
    print("| images | peak memory of `segment`, MiB | relative to the first |")
    print("|---|---:|---:|")
    first = None
    for count in options.memory:
        segmenting = worker("segment", options, filled_folder(options, folder / f"{count}", count))
        peak = segmenting.request()["bytes"]
        segmenting.close()
        first = first or peak
        print(f"| {count} | {peak / 2**20:.0f} | {peak / first:.3f} |", flush=True)
    print(f"\nGoal: the same within {GROWTH:.0%}.")


if __name__ == "__main__":
    main()
