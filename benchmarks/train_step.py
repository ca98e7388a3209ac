"""Seconds, images/s and peak memory of whole training steps, on every backend that is installed.

Six kinds of step, each in its own process; the processes take turns:

- "plain PyTorch": the paper's step in `plain_torch.py`, eager, losses computed as defined;
- "its networks alone": forward pass, backward pass and optimiser of that program without its
  losses: a minimum for any computation of the losses;
- "their arithmetic": as many multiplications and additions as those networks compute (convolutions
  as defined, padding included), in products of matrices, which processors compute fastest;
- "paper": the same step in this package, recipe "paper" (ResNet-50; VGG19 runs in every step);
- "paper, bfloat16": the same with layers in bfloat16, weights and losses in float32;
- "default": the default recipe, with cached teacher features.

Weights and images are random; the times do not depend on them. Processor seconds are those of all
threads. Peak memory is that of the whole process since it started. "above libraries" is the peak
minus the memory after the import of the libraries, most of a gigabyte if Keras imports many others.
The last five columns are relative to the first row.

    python benchmarks/train_step.py
    python benchmarks/train_step.py --size 256 --kinds paper plain --backends tensorflow
"""

import argparse
import json
import sys

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
    workers_in_turns,
)

PLAIN = {"plain": "PlainStep", "plain-networks": "PlainNetworks"}
PRODUCTS = "products"
PAPER = {"paper": "float32", "paper-bfloat16": "mixed_bfloat16"}
ON_TORCH = {*PLAIN, PRODUCTS}
MATRIX = 2048  # side of the matrices: large enough for a processor's full speed
NAMES = {
    "plain": "plain PyTorch",
    "plain-networks": "its networks alone",
    PRODUCTS: "their arithmetic",
    "paper": "paper",
    "paper-bfloat16": "paper, bfloat16",
    "default": "default",
}


def plain_step(program, batch, size, threads):
    """A function that makes `count` steps of a class of `plain_torch`."""
    import torch

    if threads:
        torch.set_num_threads(threads)
    step = bare_step(program, batch, size)

    def run(count):
        for _ in range(count):
            loss = step()
        return float(loss)

    return run


def products_step(batch, size, threads):
    """A function that multiplies matrices: as many operations as the networks in `count` steps."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    if threads:
        torch.set_num_threads(threads)
    with FlopCounterMode(display=False) as counter:
        bare_step(PLAIN["plain-networks"], batch, size)()
    operations = counter.get_total_flops()
    matrix = torch.rand(MATRIX, MATRIX, device=torch_device())
    products = max(1, round(operations / (2 * MATRIX**3)))

    def run(count):
        for _ in range(count * products):
            product = matrix @ matrix
        return float(product[0, 0])

    return run


def bare_step(program, batch, size):
    """A function that makes one step of a class of `plain_torch`, on random images."""
    import plain_torch
    import torch

    torch.manual_seed(0)
    device = torch_device()
    step = getattr(plain_torch, program)(device=device)
    images = torch.rand(batch, 3, size, size, device=device)
    foreground = torch.zeros(batch, 1, size, size, device=device)
    foreground[:, :, size // 4 : -size // 4, size // 4 : -size // 4] = 1
    return lambda: step(images, foreground)


def torch_device():
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def package_step(recipe, batch_size):
    """A function that makes `count` steps of a recipe."""
    import keras

    keras.config.set_dtype_policy(recipe.precision)
    discovery, batch = random_discovery(recipe, batch_size)

    def run(count):
        data = ((batch,) for _ in range(count))
        history = discovery.fit(data, steps_per_epoch=count, shuffle=False, verbose=0).history
        return history["loss"][0]

    return run


def random_discovery(recipe, batch_size):
    """The compiled model of a recipe with random weights, and a random batch for it.

    The batch has teacher features if the recipe caches them.
    """
    import numpy as np

    from keras_parts.discovery.standardiser import Standardiser
    from keras_parts.training.build import build_discovery, build_segmenter

    recipe = recipe.with_settings({"backbone_weights": "random", "batch_size": batch_size})
    rng = np.random.default_rng(0)
    size = recipe.image_size
    foreground = np.zeros((batch_size, size, size, 1), "float32")
    foreground[:, size // 4 : -size // 4, size // 4 : -size // 4] = 1
    batch = {
        "image": rng.integers(0, 256, (batch_size, size, size, 3), np.uint8),
        "foreground": foreground,
    }
    teacher, standardiser = random_teacher(recipe), None
    if not recipe.crops.jitter:
        side = recipe.teacher_size or size
        shape = (batch_size, *teacher.map_size(side, side), teacher.channels)
        batch["features"] = rng.normal(size=shape).astype("float16")
    if recipe.standardise:
        channels = teacher.channels
        standardiser = Standardiser(np.zeros(channels), np.eye(channels) / channels**0.5)
    clusters = None
    if "clusters" in recipe.loss_weights:
        clusters = np.eye(recipe.num_parts, teacher.channels)
    if "features" in batch:
        teacher = None
    segmenter = build_segmenter(recipe)
    discovery = build_discovery(
        recipe,
        segmenter,
        teacher=teacher,
        standardiser=standardiser,
        steps=10**6,
        clusters=clusters,
    )
    return discovery, batch


def random_teacher(recipe):
    """The teacher of a recipe, with random weights."""
    from keras_parts.backbones.efficientnet_lite import efficientnet_lite0
    from keras_parts.backbones.small import small
    from keras_parts.backbones.vgg19 import vgg19
    from keras_parts.discovery.teachers import Teacher

    layers = recipe.teacher_layers
    if recipe.teacher == "vgg19":
        return Teacher(vgg19(layers), layers, (0.33, 1.0))
    network = {"efficientnet_lite0": efficientnet_lite0, "small": small}[recipe.teacher]
    return Teacher(network(16, layers), layers)


def work(kind, batch, size, steps, threads):
    """Measure seconds of a step and memory of the process on each request."""
    import_libraries(kind)
    libraries = peak_of_process()
    if kind in PLAIN:
        run = plain_step(PLAIN[kind], batch, size, threads)
    elif kind == PRODUCTS:
        run = products_step(batch, size, threads)
    else:
        from keras_parts.training.recipes import recipe

        if kind == "default":
            run = package_step(recipe("default"), batch)
        else:
            run = package_step(recipe("paper", image_size=size, precision=PAPER[kind]), batch)

    def measure(_):
        seconds, processor, loss = processor_timed(run, steps)
        return {
            "seconds": seconds / steps,
            "processor": processor / steps,
            "bytes": peak_of_process(),
            "libraries": libraries,
            "loss": loss,
        }

    serve_requests(measure)


def import_libraries(kind):
    if kind in ON_TORCH:
        import plain_torch  # noqa: F401
    else:
        import keras_parts.training.run  # noqa: F401


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=6)
    parser.add_argument("--size", type=int, default=128, help="side of the paper's images")
    parser.add_argument("--default-batch", type=int, default=12, help="of the default recipe")
    parser.add_argument("--steps", type=int, default=2, help="in each measurement")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0, help="of PyTorch; 0 for its default")
    parser.add_argument("--kinds", nargs="+", default=list(NAMES), choices=NAMES)
    parser.add_argument("--backends", nargs="+", default=installed())
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(**json.loads(options.worker))
        return

    workers, batches = {}, {}

    def start(kind, backend=None):
        batch = options.default_batch if kind == "default" else options.batch
        settings = {"kind": kind, "batch": batch, "size": options.size, "steps": options.steps}
        settings["threads"] = options.threads
        name = f"{NAMES[kind]}, {backend}" if backend else NAMES[kind]
        workers[name], batches[name] = Worker(__file__, settings, backend), batch

    kinds = [kind for kind in NAMES if kind in options.kinds]
    for kind in kinds:
        if kind in ON_TORCH and installed(["torch"]):
            start(kind)
    for backend in options.backends:
        for kind in kinds:
            if kind not in ON_TORCH:
                start(kind, backend)
    print_machine()
    print(
        f"Paper's networks at {options.size} x {options.size}; default recipe at its own size. "
        f"Median (range) of {options.repeats} measurements of {options.steps} steps each.\n"
    )
    results = workers_in_turns(workers, options.repeats)
    print_table(
        ("step", "batch", "wall-clock s", "processor s", "images per processor s", "peak MiB",
         "above libraries", "wall-clock", "processor", "memory", "above libraries",
         "images per processor s"),
        rows(results, batches),
    )  # fmt: skip


def rows(results, batches):
    """One row for each kind of step; ratios are relative to the first."""
    base = None
    for name, measured in results.items():
        if measured is None or None in measured:
            yield name, batches[name], "failed", *[""] * 9
            continue
        times, processor = (
            Times(tuple(result[which] for result in measured)) for which in ("seconds", "processor")
        )
        peak = max(result["bytes"] for result in measured)
        above = peak - measured[0]["libraries"]
        speed = batches[name] / processor.median
        values = (times.median, processor.median, peak, above, speed)
        base = base or values
        yield (
            name,
            batches[name],
            times.cell(),
            processor.cell(),
            f"{speed:.2f}",
            mebibytes(peak),
            mebibytes(above),
            *(ratio(*each) for each in zip(values, base, strict=True)),
        )


if __name__ == "__main__":
    sys.exit(main())
