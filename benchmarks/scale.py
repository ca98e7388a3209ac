"""Cost per picture of `segment` with few and with many pictures, and of resuming; memory; log.

The pictures are small and drawn, and the network is a product in NumPy, so that what is measured
is everything but the network: listing, reading, writing, the log, the merge. Each number of
pictures has its own process. Processor time is that of all threads: it is more reliable than
wall-clock time if other programs share the machine.

    python benchmarks/scale.py                                 # 1,000 and 10,000 pictures
    python benchmarks/scale.py --counts 1000 10000 100000      # needs 1 GiB for results
"""

import argparse
import json
import os
import resource
import tempfile
import threading
import time
from pathlib import Path

from measuring import Worker, peak_of_process, print_machine, print_table, serve_requests

LEVEL = 0.05
FORMATS = ("indexed", "csv")
_SIZE, _DRAWN, _IN_FOLDER = (64, 48), 16, 1000


def draw(folder, count):
    """Fill `folder` with `count` JPEG images in folders of a thousand: a few are drawn, the others
    are hard links to them."""
    import numpy as np
    from PIL import Image

    from keras_parts.data import load

    sources = []
    for index, sample in enumerate(load("toy", "test", count=min(count, _DRAWN), size=65)):
        sources.append(folder / f"source{index}")
        Image.fromarray(np.asarray(sample.image)).resize(_SIZE).save(sources[-1], "JPEG")
    for index in range(count):
        subfolder = folder / "images" / f"{index // _IN_FOLDER:06d}"
        if index % _IN_FOLDER == 0:
            subfolder.mkdir(parents=True)
        os.link(sources[index % len(sources)], subfolder / f"{index:09d}.jpg")
    return folder / "images"


def predictor():
    """A network of one matrix: the mean colour around each position gives its logits."""
    import numpy as np

    from keras_parts.models import Predictor

    weights = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32) / 64

    def forward(images):
        padded = np.pad(images, ((0, 0), (8, 7), (8, 7), (0, 0)), mode="edge")
        cells = padded.reshape(len(images), 5, 16, 5, 16, 3).mean((2, 4), dtype=np.float32)
        return {"logits": cells @ weights}

    return Predictor(forward, ("one", "two", "three", "four"), 65, looks=1)


class OpenFiles:
    """Context that counts the files that the process has open, and keeps the `most`."""

    def __enter__(self):
        self.most, self.stop = 0, threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def watch(self):
        while not self.stop.wait(0.05):
            self.most = max(self.most, len(os.listdir("/proc/self/fd")))

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()


def serve(folder):
    """Segment the images in a folder, and then resume the finished run."""
    from keras_parts.inference import segment_files

    network, output = predictor(), Path(folder, "output")

    def measure(_):
        start, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        memory = peak_of_process()
        with OpenFiles() as files:
            summary = segment_files(network, [Path(folder, "images")], output, FORMATS)
        end = resource.getrusage(resource.RUSAGE_SELF)
        logs = sum(path.stat().st_size for path in (output / "done").iterdir())
        return {
            "done": summary.done,
            "seconds": time.perf_counter() - began,
            "processor": end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime,
            "memory": peak_of_process(),
            "start": memory,
            "files": files.most,
            "log": logs / summary.found,
        }

    serve_requests(measure)


def measured(count, environment=None):
    """The measurements of a first run and of its resumption, each in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        draw(Path(folder), count)
        runs = []
        for _ in range(2):
            worker = Worker(__file__, {"folder": folder})
            runs.append(worker.request())
            worker.close()
        assert [run["done"] for run in runs] == [count, 0]
        return runs


def segmenting(counts):
    rows, per_picture = [], []
    for count in counts:
        first, again = measured(count)
        per_picture.append({"processor": first["processor"] / count, "log": first["log"]})
        rows.append(
            [
                f"{count:,} pictures",
                f"{1e3 * first['seconds'] / count:.2f}",
                f"{1e3 * first['processor'] / count:.2f}",
                f"{per_picture[-1]['processor'] / per_picture[0]['processor']:.2f}",
                f"{first['log']:.0f}",
                f"{first['memory'] / 2**20:.0f}",
                first["files"],
                f"{again['seconds']:.1f}",
                f"{again['processor']:.1f}",
                f"{again['memory'] / 2**20:.0f}",
            ]
        )
        print(f"{count:,} pictures are done", flush=True)
    print_table(
        [
            *("", "wall-clock ms per picture", "processor ms per picture", "relative to the first"),
            *("log bytes per picture", "peak MiB", "most open files"),
            *("resumed: wall-clock s", "processor s", "peak MiB"),
        ],
        rows,
    )
    print(f"\nGoal: time and log per picture are level within {LEVEL:.0%}.")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--counts", type=int, nargs="*", default=[1000, 10_000])
    parser.add_argument("--worker", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        serve(**options.worker)
        return
    print_machine()
    segmenting(options.counts)


if __name__ == "__main__":
    main()
