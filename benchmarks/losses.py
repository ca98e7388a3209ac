"""Time and peak memory of each loss, forward and backward, beside its materialised form.

The materialised form makes the enlarged features and what every pixel is to every part, (batch,
parts, channels, height, width), as the definition reads; losses that have no such array have one
form. The forms live in processes of their own, on the backend that KERAS_BACKEND names, and are
measured in turns. The gradient is that with respect to the logits; of two forms' gradients the
largest difference of an element is given, relative to the largest element. Peak memory is that of
the process less what it held before the first call. A materialised form that cannot fit into
`--limit` is not tried.

    python benchmarks/losses.py                       # batch 6, 256 x 256, 4 parts, 768 channels
    python benchmarks/losses.py --parts 4 8 16 --channels 112 384 768
    python benchmarks/losses.py --parts 4 8 16 --channels 112 384 768 --batch 1 --size 128 --limit 8
"""

import argparse
import ctypes
import gc
import json
import os
import tempfile
from pathlib import Path

import numpy as np
from measuring import (
    PeakMemory,
    Times,
    Worker,
    answer_requests,
    mebibytes,
    print_machine,
    print_table,
    processor_timed,
    ratio,
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
_OF_TEACHER = ("feature_consistency", "contrastive")
_ARRAYS = 3  # of part, channel and pixel that the materialised form keeps for its gradient, or more


def package():
    """`{loss: function of logits, foreground, image and features}`, as the package has them."""
    from keras_parts import objectives
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
    """The same as their definitions read."""
    from keras import ops

    from keras_parts import objectives
    from keras_parts.ops import resize_aligned

    def means(logits, foreground, features, epsilon):
        """(batch, parts, channels), by way of every pixel's share in every part; the masks."""
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

    def enlarged(features, logits):
        return resize_aligned(features, logits.shape[1:3])

    return {
        "feature_consistency": lambda logits, foreground, image, features: ops.sum(
            variances(logits, foreground, enlarged(features, logits))
        ),
        "visual_consistency": lambda logits, foreground, image, features: ops.mean(
            variances(logits, foreground, image)
        ),
        "contrastive": lambda logits, foreground, image, features: objectives.contrastive(
            means(logits, foreground, enlarged(features, logits), 1e-7)[0]
        ),
    }


def gradient_of(function):
    """A function that returns loss and gradient with respect to the first argument."""
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
    """Random logits, foreground, image in Lab and features of an eighth of its size."""
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


def work(form):
    """Answer each loss and shape with its value, seconds and peak bytes; the gradient to a file."""
    from keras import ops

    functions = {PACKAGE: package, MATERIALISED: materialised}[form]()
    known = {}

    def call():
        return tuple(map(ops.convert_to_numpy, known["function"](*known["inputs"])))

    def measure(request):
        loss, shapes, path = request["loss"], request["shapes"], request["gradient"]
        if known.get("request") != (loss, shapes):
            known.clear()
            release_memory()
            known["request"] = loss, shapes
            known["inputs"] = tensors(**shapes)
            known["function"] = gradient_of(functions[loss])
        with PeakMemory() as memory:
            wall, processor, (value, gradient) = processor_timed(call)
        if path:
            np.save(path, gradient)
        times = {"seconds": wall, "processor": processor}
        return {"loss": float(value), "bytes": memory.used} | times

    answer_requests(measure)


def release_memory():
    """Give what is free back to the system, so that the next peak counts from there."""
    gc.collect()
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


class Forms:
    """The processes of both forms; one that dies, of too little memory, is started anew."""

    def __init__(self, options):
        self.options = options
        self.workers = {}
        self.folder = tempfile.TemporaryDirectory()

    def ask(self, form, request):
        if form not in self.workers:
            backend = os.environ.get("KERAS_BACKEND", "tensorflow")
            self.workers[form] = Worker(__file__, {"form": form}, backend, self.options.limit)
        answer = self.workers[form].ask(request)
        if answer is None:
            self.workers.pop(form).close()
        return answer

    def measured(self, loss, shapes):
        """`{form: answers, or None for a lack of memory}`, in turns; the first is a warm-up,
        during which the gradient is written."""
        answers = {form: [] for form in FORMS[loss]}
        if MATERIALISED in answers and _ARRAYS * array_bytes(shapes) > self.options.limit * 2**30:
            answers[MATERIALISED] = None
        for turn in range(self.options.repeats + 1):
            for form, earlier in answers.items():
                if earlier is None:
                    continue
                path = str(self.gradient(form)) if turn == 0 else None
                request = {"loss": loss, "shapes": shapes, "gradient": path}
                answer = self.ask(form, request)
                answers[form] = None if answer is None else [*earlier, answer]
        return answers

    def gradient(self, form):
        return Path(self.folder.name, f"{form}.npy")

    def difference(self):
        """Of the gradients: the largest of an element, relative to the largest element."""
        first, second = (np.load(self.gradient(form)) for form in (PACKAGE, MATERIALISED))
        return np.abs(first - second).max() / np.abs(second).max()

    def close(self):
        for worker in self.workers.values():
            worker.close()
        self.folder.cleanup()


def array_bytes(shapes):
    """Of (batch, parts, channels, height, width) in float32."""
    return 4 * shapes["batch"] * shapes["parts"] * shapes["channels"] * shapes["size"] ** 2


def rows(options):
    forms = Forms(options)
    for loss in options.losses:
        for parts in options.parts:
            for channels in options.channels if loss in _OF_TEACHER else (3,):
                shapes = {"batch": options.batch, "size": options.size}
                shapes |= {"parts": parts, "channels": channels}
                results = forms.measured(loss, shapes)
                difference = None
                if all(results.values()) and len(results) > 1:
                    difference = forms.difference()
                for form, answers in results.items():
                    if answers is None:
                        cells = [too_large(shapes, options.limit), *[""] * 6]
                    else:
                        cells = cells_of(answers, results[PACKAGE], difference)
                    yield [loss, parts, channels, form, *cells]
    forms.close()


def too_large(shapes, limit):
    return f"over {limit:g} GiB: arrays of {array_bytes(shapes) / 2**30:.2g} GiB"


def cells_of(answers, base, difference):
    found = [f"{answers[-1]['loss']:.6g}"]
    measured = [summary(answers), summary(base or answers)]
    times, processor, peak = measured[0]
    cells = ["", times.cell(1000, 3), processor.cell(1000, 3), mebibytes(peak)]
    if not base or answers is base:
        return [*found, *cells, "1", "1"]
    cells[0] = f"{difference:.0e}"
    reference = measured[1]
    return [
        *found, *cells, ratio(processor.median, reference[1].median), ratio(peak, reference[2])
    ]  # fmt: skip


def summary(answers):
    """Times of the clock and of the processor after the first call, peak bytes of all calls."""
    times = [Times(tuple(a[key] for a in answers[1:])) for key in ("seconds", "processor")]
    return *times, max(answer["bytes"] for answer in answers)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--losses", nargs="+", default=list(FORMS), choices=list(FORMS))
    parser.add_argument("--batch", type=int, default=6)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--parts", type=int, nargs="+", default=[4])
    parser.add_argument("--channels", type=int, nargs="+", default=[768])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--limit", type=float, default=22.0, help="GiB a process may take")
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
