"""The weights of the reference network, the paper's DeepLab."""

import os
import zlib
from pathlib import Path

import numpy as np


def reference_folder():
    """The folder of reference.npz: KERAS_PARTS_TEST_REFERENCE, or tests/reference/."""
    elsewhere = Path(os.environ.get("KERAS_PARTS_TEST_REFERENCE") or "")
    if (elsewhere / "reference.npz").is_file():
        return elsewhere
    return Path(__file__).resolve().parents[1] / "reference"


def reference_state(reference):
    """{name: array}, drawn as for the reference: the checksum of its name is its seed."""
    seed, state = int(reference["network_seed"]), {}
    for line in (reference_folder() / "state_dict_names.txt").read_text().splitlines():
        name, shape = line.split(" ", 1)
        shape = tuple(int(size) for size in shape.strip("()").split(",") if size.strip())
        if name.endswith("num_batches_tracked"):
            continue
        random = np.random.RandomState((zlib.crc32(name.encode()) + seed) % 2**32)
        if name.endswith("running_var"):
            state[name] = random.rand(*shape) * 0.5 + 0.75
        elif name.endswith("running_mean"):
            state[name] = random.randn(*shape) * 0.1
        elif len(shape) == 1 and name.endswith("weight"):
            state[name] = random.rand(*shape) * 0.4 + 0.8
        elif len(shape) == 1:
            state[name] = random.randn(*shape) * 0.05
        else:
            state[name] = random.randn(*shape) * np.sqrt(2 / np.prod(shape[1:])) * 0.7
    return state
