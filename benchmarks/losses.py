"""Time and peak memory of the feature loss, forward and backward, beside its materialised form.

The materialised form makes the enlarged features and the squared distance of every pixel to every
part's mean, (batch, parts, channels, height, width), as the definition reads. Each measurement
runs in a process of its own, on the backend that KERAS_BACKEND names; peak memory is that of the
process less what it held before the first call.

    python benchmarks/losses.py                       # batch 6, 256 x 256, 4 parts, 768 channels
    python benchmarks/losses.py --parts 4 8 16 --channels 112 384 768
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time

from measuring import PeakMemory

FORMS = ("implicit", "materialised")


def materialised(logits, foreground, features):
    """The feature loss as its definition reads; channels last."""
    from keras import ops

    from keras_parts.ops import resize_aligned

    masks = ops.softmax(logits, axis=-1) * foreground
    enlarged = resize_aligned(features, logits.shape[1:3])
    sums = ops.einsum("bhwk,bhwc->bkc", masks, enlarged)
    means = sums / (ops.sum(masks, axis=(1, 2))[..., None] + 1e-5)
    distances = ops.square(enlarged[:, :, :, None, :] - means[:, None, None])
    per_image = ops.sum(masks[..., None] * distances, axis=(1, 2, 3, 4))
    return ops.sum(per_image / (ops.sum(foreground, axis=(1, 2, 3)) + 1e-5))


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


def measure(form, batch, size, parts, channels, repeats):
    """Loss, gradient norm, seconds a call and peak bytes of one form, in this process."""
    import numpy as np
    from keras import ops

    from keras_parts.objectives import feature_consistency

    rng = np.random.default_rng(0)
    small = size // 8 + 1
    arrays = (
        rng.normal(size=(batch, size, size, parts)),
        rng.uniform(size=(batch, size, size, 1)) < 0.5,
        rng.normal(size=(batch, small, small, channels)),
    )
    tensors = [ops.convert_to_tensor(array.astype("float32")) for array in arrays]
    function = gradient_of(feature_consistency if form == "implicit" else materialised)
    with PeakMemory() as memory:
        loss, gradient = map(ops.convert_to_numpy, function(*tensors))
        seconds = []
        for _ in range(repeats):
            start = time.perf_counter()
            ops.convert_to_numpy(function(*tensors)[1])
            seconds.append(time.perf_counter() - start)
    return {
        "loss": float(loss),
        "gradient": float(np.linalg.norm(gradient)),
        "seconds": statistics.median(seconds),
        "bytes": memory.used,
    }


def measured(form, arguments, limit):
    """`measure` in a process of its own; None if it ran out of memory."""
    command = [sys.executable, __file__, "--measure", form, json.dumps(arguments)]
    cap = int(limit * 2**30)
    result = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (cap, cap)),
    )
    return json.loads(result.stdout.splitlines()[-1]) if result.returncode == 0 else None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=6)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--parts", type=int, nargs="+", default=[4])
    parser.add_argument("--channels", type=int, nargs="+", default=[768])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--limit", type=float, default=22.0, help="GiB a process may take")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        form, arguments = options.measure
        print(json.dumps(measure(form, **json.loads(arguments))))
        return

    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    print(f"{platform.machine()}, {os.cpu_count()} cores, {backend}: feature loss and gradient,")
    print(f"batch {options.batch}, {options.size} x {options.size}, median of {options.repeats}\n")
    print("| parts | channels | form | loss | gradient norm | s | peak MiB | time | memory |")
    print("|---|---|---|---|---|---|---|---|---|")
    for parts in options.parts:
        for channels in options.channels:
            arguments = {
                "batch": options.batch,
                "size": options.size,
                "parts": parts,
                "channels": channels,
                "repeats": options.repeats,
            }
            results = {form: measured(form, arguments, options.limit) for form in FORMS}
            for form, result in results.items():
                print(f"| {parts} | {channels} | {form} | {row(result, results, options.limit)} |")


def row(result, results, limit):
    if result is None:
        return f"out of memory at {limit:g} GiB | | | | |"
    cells = [f"{result['loss']:.6g}", f"{result['gradient']:.6g}", f"{result['seconds']:.3f}"]
    cells.append(f"{result['bytes'] / 2**20:.0f}")
    base = results["implicit"]
    if base and result is not base:
        cells += [f"{result[k] / base[k]:.1f} x" for k in ("seconds", "bytes")]
    else:
        cells += ["1", "1"]
    return " | ".join(cells)


if __name__ == "__main__":
    main()
