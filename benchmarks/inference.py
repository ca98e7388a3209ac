"""Images/s of a segmenter at several sizes and batch sizes, on every installed backend.

- "eager": the network called directly, operation by operation;
- "compiled": the forward pass as `keras-parts segment` runs it;
- "XLA": the same, compiled by XLA (on JAX "compiled" is compiled by XLA);
- "bfloat16": compiled, with layers in bfloat16, weights and logits in float32;
- "image to parts": `PartSegmenter.segment`, which also resizes images, upsamples logits and
  computes labels, in one process and one Python thread;
- "ONNX Runtime": the export of `keras-parts export`, which does the same.

The variants of a backend are measured in turns in one process. Weights are random.

    python benchmarks/inference.py
    python benchmarks/inference.py --architecture resnet50 --sizes 256 --batches 1 8
"""

import argparse
import json
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from measuring import (
    Times,
    Worker,
    installed,
    mebibytes,
    peak_of_process,
    print_machine,
    print_table,
    processor_timed,
    ratio,
    serve_requests,
)


def variants(architecture, num_parts, size, batch, with_onnx):
    """`{name: function without arguments that segments the batch once}`."""
    import keras
    import numpy as np
    from keras import ops

    from keras_parts.models.forward import ForwardPass
    from keras_parts.models.segmenter import PartSegmenter, SegmenterConfig

    keras.utils.set_random_seed(0)
    config = SegmenterConfig(num_parts, architecture, image_size=size)
    segmenter = PartSegmenter(config)
    images = np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), np.uint8)
    backend = keras.backend.backend()

    def forward(network, **options):
        model = ForwardPass(network)
        model.compile(**options)
        return lambda: model.predict_on_batch(images)

    def eager():
        return ops.convert_to_numpy(segmenter(images))

    found = {"eager": eager, "compiled": forward(segmenter)}
    if backend == "tensorflow":
        found["XLA"] = forward(segmenter, jit_compile=True)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        found["bfloat16"] = forward(PartSegmenter(config))
    finally:
        keras.config.set_dtype_policy(before)
    image_list = list(images)
    found["image to parts"] = lambda: [parts.labels for parts in segmenter.segment(image_list)]
    if with_onnx and backend == "tensorflow":
        found["ONNX Runtime"] = exported(segmenter, images)
    return found


def exported(segmenter, images):
    from keras_parts import exports

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "segmenter.onnx")
        exports.export(segmenter, "onnx", path)
        run = exports.load("onnx", path)
    return lambda: run(images)


def work(architecture, num_parts, repeats, with_onnx):
    """Measure the seconds of every variant for each requested size and batch size."""

    def measure(request):
        functions = variants(architecture, num_parts, request["size"], request["batch"], with_onnx)
        for function in functions.values():
            function()
        seconds = {name: [] for name in functions}
        for _ in range(repeats):
            for name, function in functions.items():
                seconds[name].append(processor_timed(function)[:2])
        return {"seconds": seconds, "bytes": peak_of_process()}

    serve_requests(measure)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--architecture", default="efficientnet_lite0")
    parser.add_argument("--parts", type=int, default=4)
    parser.add_argument("--sizes", type=int, nargs="+", default=[161, 257, 385])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--backends", nargs="+", default=installed())
    parser.add_argument("--without-onnx", action="store_true")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(**json.loads(options.worker))
        return

    settings = {
        "architecture": options.architecture,
        "num_parts": options.parts,
        "repeats": options.repeats,
        "with_onnx": not options.without_onnx and all(map(find_spec, ("onnxruntime", "tf2onnx"))),
    }
    print_machine()
    print(
        f"{options.architecture}, {options.parts} parts; median (range) of {options.repeats} calls "
        "of each variant in turns; processor time relative to the compiled forward pass.\n"
    )

    def rows():
        for backend in options.backends:
            worker = Worker(__file__, settings, backend)
            for size in options.sizes:
                for batch in options.batches:
                    measured = worker.request({"size": size, "batch": batch})
                    yield from lines(backend, size, batch, measured)
            worker.close()

    print_table(
        ("backend", "size", "batch", "variant", "wall-clock ms", "processor ms", "images/s",
         "processor time", "peak MiB so far"),
        rows(),
    )  # fmt: skip


def lines(backend, size, batch, measured):
    if measured is None:
        yield backend, size, batch, "failed", *[""] * 5
        return
    times = {
        name: tuple(map(Times, zip(*seconds, strict=True)))
        for name, seconds in measured["seconds"].items()
    }
    base = times["compiled"][1].median
    for name, (wall, processor) in times.items():
        yield (
            backend, size, batch, name, wall.cell(1000, 3), processor.cell(1000, 3),
            f"{batch / wall.median:.1f}", ratio(processor.median, base),
            mebibytes(measured["bytes"]),
        )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
