"""NMI and ARI of many pixels: streamed through a contingency table, compared with scikit-learn's.

Each form runs in a separate process, on the same random pixels. The streamed form counts them image
by image, as an evaluation does. scikit-learn needs all of them at once: its number of pixels is a
separate option. Memory is the peak of the process minus its memory before.

    python benchmarks/metrics.py                         # 10^8 pixels streamed, 10^7 at once
    python benchmarks/metrics.py --at-once 100000000
"""

import argparse
import json
import platform
import subprocess
import sys
import time

import numpy as np
from measuring import mebibytes, peak_of_process

LABELS, CLUSTERS, SIDE = 19, 16, 1000


def image(index):
    """Labels and clusters of an image of a million pixels, half of which agree."""
    rng = np.random.default_rng(index)
    labels = rng.integers(LABELS, size=(SIDE, SIDE), dtype=np.int32)
    other = rng.integers(CLUSTERS, size=labels.shape, dtype=np.int32)
    return labels, np.where(rng.random(labels.shape) < 0.5, labels % CLUSTERS, other)


def streamed(images):
    from keras_parts.metrics import ContingencyTable, ari, nmi

    table, seconds, before = ContingencyTable(LABELS, CLUSTERS), 0.0, None
    for index in range(images):
        labels, clusters = image(index)
        if before is None:
            before = peak_of_process()
        start = time.perf_counter()
        table.update(labels, clusters)
        seconds += time.perf_counter() - start
    start = time.perf_counter()
    scores = nmi(table.counts), ari(table.counts)
    return *scores, seconds + time.perf_counter() - start, peak_of_process() - before


def at_once(images):
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    pairs = [image(index) for index in range(images)]
    labels, clusters = (np.concatenate(arrays, axis=None) for arrays in zip(*pairs, strict=True))
    del pairs
    before, start = peak_of_process(), time.perf_counter()
    scores = (
        normalized_mutual_info_score(labels, clusters),
        adjusted_rand_score(labels, clusters),
    )
    return *scores, time.perf_counter() - start, peak_of_process() - before


FORMS = {"streamed": streamed, "scikit-learn": at_once}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pixels", type=int, default=10**8, help="streamed")
    parser.add_argument("--at-once", type=int, default=10**7, help="by scikit-learn")
    parser.add_argument("--form", choices=FORMS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.form:
        print(json.dumps([float(value) for value in FORMS[options.form](options.pixels)]))
        return
    print(f"{platform.machine()}, Python {platform.python_version()}, NumPy {np.__version__}\n")
    print("| form | pixels | NMI | ARI | s | s / 10^7 pixels | peak MiB |")
    print("|---|---|---|---|---|---|---|")
    runs = [("streamed", options.pixels), ("streamed", options.at_once)]
    for form, pixels in [*runs, ("scikit-learn", options.at_once)]:
        images = max(1, round(pixels / SIDE**2))
        command = [sys.executable, __file__, "--form", form, "--pixels", str(images)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        nmi, ari, seconds, memory = found
        each = seconds / images * 10
        print(
            f"| {form} | {images * SIDE**2:,} | {nmi:.6f} | {ari:.6f} | {seconds:.2f} | "
            f"{each:.2f} | {mebibytes(memory)} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
