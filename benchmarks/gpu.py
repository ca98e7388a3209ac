"""The key figures of one GPU in one command: JAX, float32 and bfloat16, growing batches.

The peak speed is that of a product of two square matrices in the same precision, measured first.
Operations are those that XLA counts in the compiled step; a multiplication and an addition count as
two. Batches grow until images/s grow by less than 5 % or memory is full. If PyTorch is installed,
the paper's step of `plain_torch.py` is measured on the same device, for comparison.

    python benchmarks/gpu.py                                    # less than ten minutes on a GPU
    python benchmarks/gpu.py --size 65 --default-size 65 --batches 2 4 --matrix 512     # on a CPU
"""

import argparse
import json
import os
import sys
import time

from measuring import (
    Times,
    Worker,
    installed,
    mebibytes,
    print_machine,
    print_table,
    ratio,
    serve_requests,
)

PRECISIONS = ("float32", "mixed_bfloat16")


def matrix_peak(precision, side):
    """Operations per second of a product of two square matrices, the best of five runs."""
    import jax
    import jax.numpy as jnp

    dtype = jnp.bfloat16 if precision == "mixed_bfloat16" else jnp.float32
    matrix = jax.random.normal(jax.random.key(0), (side, side), dtype)
    chain = 8

    @jax.jit
    def products(x):
        for _ in range(chain):
            x = (matrix @ x) * (1 / side**0.5)
        return x

    x = products(matrix).block_until_ready()
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        products(x).block_until_ready()
        seconds.append(time.perf_counter() - began)
    return chain * 2 * side**3 / min(seconds)


def compiled_step(recipe, batch_size):
    """The compiled step, its state and its batch."""
    import jax
    import keras
    from train_step import random_discovery

    keras.config.set_dtype_policy(recipe.precision)
    keras.utils.set_random_seed(0)
    discovery, batch = random_discovery(recipe, batch_size)
    discovery.optimizer.build(discovery.trainable_variables)
    groups = (
        discovery.trainable_variables, discovery.non_trainable_variables,
        discovery.optimizer.variables, discovery.metrics_variables,
    )  # fmt: skip
    state = tuple([variable.value for variable in group] for group in groups)
    batch = jax.device_put((batch,))
    step = jax.jit(discovery.train_step, donate_argnums=0).lower(state, batch).compile()
    return step, state, batch


def measured_step(recipe, batch_size, repeats, steps):
    """Seconds, operations and bytes of a compiled step after a first one, and its loss."""
    import jax

    began = time.perf_counter()
    step, state, batch = compiled_step(recipe, batch_size)
    compilation = time.perf_counter() - began
    logs, state = step(state, batch)
    jax.block_until_ready(state)
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        for _ in range(steps):
            logs, state = step(state, batch)
        jax.block_until_ready(state)
        seconds.append((time.perf_counter() - began) / steps)
    costs = step.cost_analysis()
    costs = costs[0] if isinstance(costs, list) else costs
    memory = step.memory_analysis()
    used = memory.temp_size_in_bytes + memory.argument_size_in_bytes + memory.output_size_in_bytes
    return {
        "seconds": seconds,
        "operations": costs["flops"],
        "bytes": used - memory.alias_size_in_bytes,
        "compilation": compilation,
        "loss": float(logs["loss"]),
    }


def work(recipe, settings, repeats, steps):
    """Measure a step at each requested batch size; "out of memory" is a result too."""
    from keras_parts.training.recipes import recipe as named

    chosen = named(recipe, **settings)

    def measure(batch_size):
        try:
            return measured_step(chosen, batch_size, repeats, steps)
        except Exception as error:  # JAX has no exception class for running out of memory
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            return {"error": "out of memory"}

    serve_requests(measure)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=256, help="side of the paper's images")
    parser.add_argument("--default-size", type=int, default=257, help="of the default recipe's")
    parser.add_argument("--batches", type=int, nargs="+", default=[6, 12, 24, 48, 96, 192])
    parser.add_argument("--recipes", nargs="+", default=["paper", "default"])
    parser.add_argument("--precisions", nargs="+", default=list(PRECISIONS))
    parser.add_argument("--matrix", type=int, default=8192, help="side of the matrices")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=5, help="in each measurement")
    parser.add_argument("--without-plain", action="store_true")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(**json.loads(options.worker))
        return

    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # PyTorch needs memory as well
    print_machine()
    device, highest = measured_peaks(options)
    print(f"Device: {device}. Product of {options.matrix} x {options.matrix} matrices: ", end="")
    print(", ".join(f"{name} {peak / 1e12:.3g} TFLOP/s" for name, peak in highest.items()), "\n")
    plain = None if options.without_plain else plain_seconds(options)
    print_table(
        ("step", "precision", "batch", "s per step", "images/s", "TFLOP per step", "TFLOP/s",
         "of the matrix peak", "MiB", "s to compile", "relative to plain PyTorch"),
        rows(options, highest, plain),
    )  # fmt: skip


def measured_peaks(options):
    """(name of the device, `{precision: operations/s of the product}`)."""
    import jax

    device = jax.devices()[0]
    name = f"{device.device_kind} ({device.platform})"
    return name, {each: matrix_peak(each, options.matrix) for each in options.precisions}


def plain_seconds(options):
    """Median seconds of the plain program's step at the smallest batch; None without PyTorch."""
    if "paper" not in options.recipes or not installed(["torch"]):
        return None
    settings = {"kind": "plain", "batch": options.batches[0], "size": options.size}
    settings |= {"steps": options.steps, "threads": 0}
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "train_step.py")
    worker = Worker(script, settings)
    results = [worker.request() for _ in range(1 + options.repeats)][1:]
    worker.close()
    return None if None in results else Times(tuple(each["seconds"] for each in results)).median


def rows(options, highest, plain):
    if plain:
        batch = options.batches[0]
        yield (
            "paper, plain PyTorch",
            "float32",
            batch,
            f"{plain:.4g}",
            f"{batch / plain:.1f}",
            *([""] * 5),
            "1",
        )
    for recipe in options.recipes:
        size = options.size if recipe == "paper" else options.default_size
        for precision in options.precisions:
            settings = {"image_size": size, "precision": precision}
            arguments = {"recipe": recipe, "settings": settings}
            arguments |= {"repeats": options.repeats, "steps": options.steps}
            worker = Worker(__file__, arguments, "jax")
            before = 0.0
            for batch in options.batches:
                result = worker.request(batch)
                if result is None or "error" in result:
                    text = "failed" if result is None else result["error"]
                    yield recipe, precision, batch, text, *[""] * 7
                    break
                times = Times(tuple(result["seconds"]))
                speed = batch / times.median
                achieved = result["operations"] / times.median
                is_compared = plain and recipe == "paper" and batch == options.batches[0]
                yield (
                    recipe, precision, batch, times.cell(), f"{speed:.1f}",
                    f"{result['operations'] / 1e12:.3g}", f"{achieved / 1e12:.3g}",
                    f"{achieved / highest[precision]:.0%}", mebibytes(result["bytes"]),
                    f"{result['compilation']:.0f}",
                    ratio(plain, times.median) if is_compared else "",
                )  # fmt: skip
                if speed < 1.05 * before:
                    break
                before = speed
            worker.close()


if __name__ == "__main__":
    sys.exit(main())
