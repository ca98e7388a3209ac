"""Pictures a second of `segment`, beside the bare network and a plain loop; and its peak memory.

The bare network is the compiled forward pass on tensors that are ready, in the same batches. The
plain loop opens, segments and saves one picture after the other. Each measurement runs in a
process of its own, over the same drawn pictures (or those of --images), after a warm-up that
compiles; repeats alternate, and the median counts. Peak memory is that of the whole process.

    python benchmarks/segment.py                                # toy, 200 pictures of 640 x 480
    python benchmarks/segment.py --model runs/cub --images photos/ --count 64
    python benchmarks/segment.py --memory 100 2000 --repeats 0  # memory alone
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import peak_of_process

GOAL, GROWTH = 0.85, 0.10
FORMS = {
    "forward": "bare forward pass",
    "segment": "`segment`, one format",
    "loop": "plain loop: open, segment, save",
}
_DRAWN = 16


def draw(folder, count, width, height):
    """`count` pictures as cameras write them; a few are drawn, and the rest are links to them."""
    import numpy as np
    from PIL import Image

    from keras_parts.data import load

    folder.mkdir()
    rng = np.random.default_rng(0)
    for index, sample in enumerate(load("toy", "test", count=min(count, _DRAWN), size=321)):
        picture = np.asarray(Image.fromarray(sample.image).resize((width, height)), np.int16)
        picture = np.clip(picture + rng.normal(0, 6, picture.shape), 0, 255).astype(np.uint8)
        Image.fromarray(picture).save(folder / f"{index}.jpg", quality=90)
    link(folder, count, [folder / f"{index}.jpg" for index in range(min(count, _DRAWN))])


def link(folder, count, pictures):
    """Fill a folder up to `count` pictures."""
    for index in range(len(list(folder.iterdir())), count):
        source = pictures[index % len(pictures)].resolve()
        (folder / f"{index}{source.suffix}").symlink_to(source)


def measure(form, model, folder, batch_size):
    """{"seconds", "bytes"} of one form over the pictures of a folder, in this process."""
    from keras_parts import zoo

    segmenter, pictures = zoo.load(model), sorted(Path(folder).iterdir())
    with tempfile.TemporaryDirectory() as output:
        work = PREPARE[form](segmenter, pictures, batch_size, Path(output))
        start = time.perf_counter()
        work()
        seconds = time.perf_counter() - start
    return {"seconds": seconds, "bytes": peak_of_process()}


def forward(segmenter, pictures, batch_size, output):
    import numpy as np

    from keras_parts.images import read_image
    from keras_parts.inference import network_of

    network = network_of(segmenter, batch_size)
    shown = {each.resolve() for each in pictures}
    inputs = {each: network.prepare(read_image(each)).inputs[0] for each in shown}
    inputs = [inputs[each.resolve()] for each in pictures]
    batches = [
        np.stack((inputs[start : start + batch_size] + inputs)[:batch_size])
        for start in range(0, len(inputs), batch_size)
    ]
    network.forward(batches[0])
    return lambda: list(map(network.forward, batches))


def segment(segmenter, pictures, batch_size, output):
    from keras_parts.inference import network_of, segment_files

    network = network_of(segmenter, batch_size)
    segment_files(network, pictures[:batch_size], output / "first", ["indexed"])
    return lambda: segment_files(network, pictures, output / "all", ["indexed"])


def loop(segmenter, pictures, batch_size, output):
    segmenter.segment(pictures[0])

    def work():
        for index, picture in enumerate(pictures):
            segmenter.segment(picture).indexed().save(output / f"{index}.png")

    return work


PREPARE = {"forward": forward, "segment": segment, "loop": loop}


def measured(form, options, folder):
    """`measure` in a process of its own."""
    command = [sys.executable, __file__, "--model", options.model, "--measure", form, str(folder)]
    command += ["--batch-size", str(options.batch_size)]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    if result.returncode:
        sys.exit(result.stderr)
    return json.loads(result.stdout.splitlines()[-1])


def pictures_of(options, folder, count):
    """A folder of `count` pictures, those of --images if given."""
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
    parser.add_argument("--images", help="pictures to use in place of drawn ones")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--size", type=int, nargs=2, default=(640, 480), metavar=("W", "H"))
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory", type=int, nargs="*", default=[100, 2000], metavar="COUNT")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        form, folder = options.measure
        print(json.dumps(measure(form, options.model, folder, options.batch_size)))
        return

    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    of = options.images or f"{options.size[0]} x {options.size[1]}"
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {backend}"
    print(f"{machine}: {os.path.basename(options.model)}")
    print(f"batches of {options.batch_size}, pictures of {of}\n")
    with tempfile.TemporaryDirectory() as folder:
        if options.repeats:
            speed(options, pictures_of(options, Path(folder, "speed"), options.count))
        if options.memory:
            memory(options, Path(folder))


def speed(options, folder):
    runs = [
        {form: measured(form, options, folder) for form in FORMS} for _ in range(options.repeats)
    ]
    seconds = {form: statistics.median(run[form]["seconds"] for run in runs) for form in FORMS}
    print(f"{options.count} pictures, median of {options.repeats}\n")
    print("| | images a second | of the bare forward pass |")
    print("|---|---|---|")
    for form, name in FORMS.items():
        share = seconds["forward"] / seconds[form]
        print(f"| {name} | {options.count / seconds[form]:.1f} | {share:.2f} |")
    print(f"\nGoal for `segment`: at least {GOAL} of the bare forward pass.\n")


def memory(options, folder):
    print("| pictures | peak memory of `segment`, MiB | beside the first |")
    print("|---|---|---|")
    first = None
    for count in options.memory:
        peak = measured("segment", options, pictures_of(options, folder / f"{count}", count))
        first = first or peak["bytes"]
        print(
            f"| {count} | {peak['bytes'] / 2**20:.0f} | {peak['bytes'] / first:.3f} |", flush=True
        )
    print(f"\nGoal: the same within {GROWTH:.0%}.")


if __name__ == "__main__":
    main()
