"""Time and peak memory of each loss, forward and backward, compared with its materialised form.

The materialised form computes a loss as it is defined, from the upsampled features and the distance
of every pixel to every part: an array (batch, parts, channels, height, width). Losses without such
an array have one form. Each form of each loss runs in its own process, on the backend of
KERAS_BACKEND, and the processes take turns. The gradient is with respect to the logits; the table
shows the maximum difference between the gradients of the two forms, relative to the maximum
element. Peak memory is that of the process minus its memory before the call. A materialised form
whose arrays exceed `--limit` is not measured.

    python benchmarks/losses.py                       # batch 6, 256 x 256, 4 parts, 768 channels
    python benchmarks/losses.py --parts 4 8 16 --channels 112 384 768
    python benchmarks/losses.py --parts 4 8 16 --channels 112 384 768 --batch 1 --size 128 --limit 8
"""

import argparse
import json
import os
import tempfile
from pathlib import Path

import numpy as np
from measuring import (
    PeakMemory,
    Times,
    Worker,
    mebibytes,
    print_machine,
    print_table,
    processor_timed,
    ratio,
    serve_requests,
    workers_in_turns,
)

PACKAGE, MATERIALISED = "package", "materialised"
FORMS = {
    "feature_consistency": (PACKAGE, MATERIALISED),
    "visual_consistency": (PACKAGE, MATERIALISED),
    "contrastive": (PACKAGE, MATERIALISED),
    "equivariance": (PACKAGE,),
    "foreground": (PACKAGE,),
    "balance": (PACKAGE,),
}
"""Loss -> its forms."""
_TEACHER_LOSSES = ("feature_consistency", "contrastive")
_ARRAYS = 3  # minimum number of such arrays that the gradient of a materialised form needs


def package():
    """The package's losses: `{name: function of logits, foreground, image and features}`."""
    from keras_parts.discovery import objectives
    from keras_parts.ops import part_descriptors

    return {
        "feature_consistency": lambda logits, foreground, image, features: (
            objectives.feature_consistency(logits, foreground, features)
        ),
        "visual_consistency": lambda logits, foreground, image, features: (
            objectives.visual_consistency(logits, foreground, image)
        ),
        "contrastive": lambda logits, foreground, image, features: objectives.contrastive(
            part_descriptors(logits, foreground, features)
        ),
        "equivariance": lambda logits, foreground, image, features: objectives.equivariance(
            logits[:, ::-1], logits, foreground
        ),
        "foreground": lambda logits, foreground, image, features: (
            objectives.foreground_cross_entropy(logits[..., :1], foreground)
        ),
        "balance": lambda logits, foreground, image, features: objectives.balance(
            logits, foreground
        ),
    }


def materialised():
    """The materialised forms of these losses."""
    from keras import ops

    from keras_parts.discovery import objectives
    from keras_parts.ops import resize_aligned

    def means(logits, foreground, features, epsilon):
        """Part descriptors (batch, parts, channels) from features at all pixels; the part masks."""
        masks = ops.softmax(logits, axis=-1) * foreground
        weighted = masks[..., None] * features[:, :, :, None, :]
        areas = ops.sum(masks, axis=(1, 2))[..., None]
        return ops.sum(weighted, axis=(1, 2)) / (areas + epsilon), masks

    def variances(logits, foreground, features):
        """(batch,), sum_k sum_u m_k |phi - mu_k|^2 / sum_u F."""
        centres, masks = means(logits, foreground, features, 1e-5)
        distances = ops.square(features[:, :, :, None, :] - centres[:, None, None])
        sums = ops.sum(masks[..., None] * distances, axis=(1, 2, 3, 4))
        return sums / (ops.sum(foreground, axis=(1, 2, 3)) + 1e-5)

    def upsampled(features, logits):
        return resize_aligned(features, logits.shape[1:3])

    return {
        "feature_consistency": lambda logits, foreground, image, features: ops.sum(
            variances(logits, foreground, upsampled(features, logits))
        ),
        "visual_consistency": lambda logits, foreground, image, features: ops.mean(
            variances(logits, foreground, image)
        ),
        "contrastive": lambda logits, foreground, image, features: objectives.contrastive(
            means(logits, foreground, upsampled(features, logits), 1e-7)[0]
        ),
    }


def gradient_of(function):
    """A function that returns the loss and its gradient with respect to the first argument."""
    import keras

    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(jax.value_and_grad(function))
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        @tf.function
        def with_gradient(logits, *others):
            with tf.GradientTape() as tape:
                tape.watch(logits)
                loss = function(logits, *others)
            return loss, tape.gradient(loss, logits)

        return with_gradient

    def with_gradient(logits, *others):
        logits = logits.detach().requires_grad_()
        loss = function(logits, *others)
        loss.backward()
        return loss, logits.grad

    return with_gradient


def tensors(batch, size, parts, channels):
    """Random logits, foreground, image in Lab, and features at an eighth of the image's size."""
    from keras import ops

    rng = np.random.default_rng(0)
    small = size // 8 + 1
    arrays = (
        rng.normal(size=(batch, size, size, parts)),
        rng.uniform(size=(batch, size, size, 1)) < 0.5,
        rng.normal(size=(batch, size, size, 3)) * 30,
        rng.normal(size=(batch, small, small, channels)),
    )
    return [ops.convert_to_tensor(array.astype("float32")) for array in arrays]


def work(form, loss, shapes, gradient):
    """Measure loss, seconds and peak bytes on each request; save the gradient to a file."""
    from keras import ops

    function = gradient_of({PACKAGE: package, MATERIALISED: materialised}[form]()[loss])
    inputs = tensors(**shapes)

    def call():
        return tuple(map(ops.convert_to_numpy, function(*inputs)))

    def measure(_):
        with PeakMemory() as memory:
            wall, processor, (value, array) = processor_timed(call)
        np.save(gradient, array)
        times = {"seconds": wall, "processor": processor}
        return {"loss": float(value), "bytes": memory.used} | times

    serve_requests(measure)


def measured(loss, shapes, options):
    """(`{form: results, or why there are none}`, difference of the gradients or None)."""
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    fits = _ARRAYS * array_bytes(shapes) <= options.limit * 2**30
    with tempfile.TemporaryDirectory() as folder:
        files = {form: Path(folder, f"{form}.npy") for form in FORMS[loss]}
        workers = {}
        for form, file in files.items():
            settings = {"form": form, "loss": loss, "shapes": shapes, "gradient": str(file)}
            if form != MATERIALISED or fits:
                workers[form] = Worker(__file__, settings, backend, options.limit)
        results = dict.fromkeys(files, too_large(shapes, options.limit))
        for form, found in workers_in_turns(workers, options.repeats).items():
            if found and None not in found:
                results[form] = found
            elif not workers[form].ran_out_of_memory:
                results[form] = "failed"
        difference = None
        if len(files) > 1 and all(file.exists() for file in files.values()):
            difference = largest_difference(*map(np.load, files.values()))
    return results, difference


def largest_difference(first, second):
    """Maximum difference of an element, relative to the maximum element."""
    return np.abs(first - second).max() / np.abs(second).max()


def array_bytes(shapes):
    """Size of an array (batch, parts, channels, height, width) in float32."""
    return 4 * shapes["batch"] * shapes["parts"] * shapes["channels"] * shapes["size"] ** 2


def rows(options):
    for loss in options.losses:
        for parts in options.parts:
            for channels in options.channels if loss in _TEACHER_LOSSES else (3,):
                shapes = {"batch": options.batch, "size": options.size}
                shapes |= {"parts": parts, "channels": channels}
                results, difference = measured(loss, shapes, options)
                for form, form_results in results.items():
                    if isinstance(form_results, str):
                        cells = [form_results, *[""] * 6]
                    else:
                        cells = cells_of(form_results, results[PACKAGE], difference)
                    yield [loss, parts, channels, form, *cells]


def too_large(shapes, limit):
    return f"over {limit:g} GiB: arrays of {array_bytes(shapes) / 2**30:.2g} GiB"


def cells_of(results, base, difference):
    """Cells of a row: value, difference, times, memory, and ratios to the package's form."""
    times, processor, peak = summary(results)
    cells = [f"{results[-1]['loss']:.6g}", "", times.cell(1000, 3), processor.cell(1000, 3)]
    cells += [mebibytes(peak), "1", "1"]
    if results is not base:
        if difference is not None:
            cells[1] = f"{difference:.0e}"
        cells[-2:] = ["", ""]
        if not isinstance(base, str):
            _, of_base, peak_of_base = summary(base)
            cells[-2:] = ratio(processor.median, of_base.median), ratio(peak, peak_of_base)
    return cells


def summary(results):
    """Wall-clock times, processor times and peak bytes of all calls."""
    times = [Times(tuple(result[key] for result in results)) for key in ("seconds", "processor")]
    return *times, max(result["bytes"] for result in results)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--losses", nargs="+", default=list(FORMS), choices=list(FORMS))
    parser.add_argument("--batch", type=int, default=6)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--parts", type=int, nargs="+", default=[4])
    parser.add_argument("--channels", type=int, nargs="+", default=[768])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--limit", type=float, default=22.0, help="maximum GiB of a process")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(**json.loads(options.worker))
        return
    print_machine()
    print(
        f"On {os.environ.get('KERAS_BACKEND', 'tensorflow')}, batch {options.batch}, "
        f"{options.size} x {options.size}; median (range) of {options.repeats}.\n"
    )
    print_table(
        ("loss", "parts", "channels", "form", "value", "gradients differ by", "wall-clock ms",
         "processor ms", "peak MiB", "processor time", "memory"),
        rows(options),
    )  # fmt: skip


if __name__ == "__main__":
    main()
