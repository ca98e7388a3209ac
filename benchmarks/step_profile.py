"""The share of a training step that the networks' arithmetic takes.

"networks, forward and backward" is the minimum of any training: the same segmenter on both views of
as many images (and the teacher, if the recipe runs it in every step), and the gradient of a loss
that takes no time. "networks, trained" is a training step on that loss: it adds the optimiser,
clipping, the check for values that are not finite, and the moving averages. The rest of the whole
step is random transforms, losses, optimiser and bookkeeping. All parts run in turns in one process,
on the backend of KERAS_BACKEND.

    python benchmarks/step_profile.py
    python benchmarks/step_profile.py --recipe paper --batch 6 --size 128
"""

import argparse
import os

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as on the command line; read at import

import keras
from keras import ops
from measuring import Times, print_machine, print_table, processor_timed
from train_step import random_discovery

from keras_parts.discovery.steps import TrainStep
from keras_parts.training.recipes import recipe


def network_size(discovery, batch):
    """A scalar that depends on all outputs of the networks, so that all gradients are computed."""
    image = ops.cast(batch["image"], "float32")
    first, second = discovery.segment_views(image, image, training=True)
    size = ops.mean(ops.square(first)) + ops.mean(ops.square(second))
    if discovery.teacher is not None:
        size = size + sum(map(ops.mean, discovery.teacher.maps(image)))
    return size


class Networks(TrainStep, keras.Model):
    """The networks of a discovery model, trained in the same way on a trivial loss."""

    def __init__(self, discovery):
        super().__init__(name="networks")
        self.discovery = discovery
        self.track_losses({"size": 1e-9})
        self.built = True

    def call(self, images, training=False):
        return self.discovery(images, training=training)

    def compute_losses(self, batch, training):
        return {"size": network_size(self.discovery, batch)}


def tensorflow_passes(discovery, batch):
    import tensorflow as tf

    batch = tf.nest.map_structure(tf.convert_to_tensor, batch)

    @tf.function(jit_compile=discovery.jit_compile)
    def forward_and_backward():
        with tf.GradientTape() as tape:
            size = network_size(discovery, batch)
        return size, tape.gradient(size, discovery.trainable_variables)

    def run(count):
        for _ in range(count):
            size, _ = forward_and_backward()
        return float(size)

    return run


def jax_passes(discovery, batch):
    import jax

    batch = jax.device_put(batch)
    trained, others = discovery.trainable_variables, discovery.non_trainable_variables
    fixed = [variable.value for variable in others]

    def size(values, fixed, batch):
        state = [*zip(trained, values, strict=True), *zip(others, fixed, strict=True)]
        with keras.StatelessScope(state):
            return network_size(discovery, batch)

    forward_and_backward = jax.value_and_grad(size)
    if discovery.jit_compile:
        forward_and_backward = jax.jit(forward_and_backward)

    def run(count):
        for _ in range(count):
            found = forward_and_backward([variable.value for variable in trained], fixed, batch)
        return jax.block_until_ready(found)

    return run


def torch_passes(discovery, batch):
    import torch

    batch = {name: ops.convert_to_tensor(values) for name, values in batch.items()}
    trained = [variable.value for variable in discovery.trainable_variables]

    def run(count):
        for _ in range(count):
            size = network_size(discovery, batch)
            torch.autograd.grad(size, trained, allow_unused=True)
        return float(size.detach())

    return run


PASSES = {"tensorflow": tensorflow_passes, "jax": jax_passes, "torch": torch_passes}
"""Backend -> function of a model and a batch; it returns a function that makes `count` passes."""


def steps(model, batch):
    """A function that makes `count` training steps."""

    def run(count):
        data = ((batch,) for _ in range(count))
        model.fit(data, steps_per_epoch=count, shuffle=False, verbose=0)

    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="default")
    parser.add_argument("--size", type=int)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--steps", type=int, default=2, help="in each measurement")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()

    chosen = recipe(options.recipe, **({"image_size": options.size} if options.size else {}))
    batch_size = options.batch or chosen.batch_size
    whole, batch = random_discovery(chosen, batch_size)
    other, _ = random_discovery(chosen, batch_size)
    networks = Networks(other)
    networks.compile(other.optimizer)
    parts = {
        "whole step": steps(whole, batch),
        "networks, trained": steps(networks, batch),
        "networks, forward and backward": PASSES[keras.config.backend()](other, batch),
    }
    for run in parts.values():
        run(2)
    clock = {name: [] for name in parts}
    processor = {name: [] for name in parts}
    for _ in range(options.repeats):
        for name, run in parts.items():
            seconds, used, _ = processor_timed(run, options.steps)
            clock[name].append(seconds / options.steps)
            processor[name].append(used / options.steps)

    print_machine()
    print(
        f"Recipe {options.recipe} on {keras.config.backend()}, batch {batch_size} at "
        f"{chosen.image_size} x {chosen.image_size}; median (range) of {options.repeats}.\n"
    )
    times = {name: [Times(tuple(each[name])) for each in (clock, processor)] for name in parts}
    print_table(("part of a step", "wall-clock ms", "share", "processor ms", "share"), rows(times))


def rows(times):
    """Rows for `{part: (wall-clock, processor)}`: the whole step first, the passes alone last."""
    totals = [each.median for each in next(iter(times.values()))]
    for name, measured in times.items():
        shares = [each.median / total for each, total in zip(measured, totals, strict=True)]
        clock, processor = (each.cell(1000) for each in measured)
        yield name, clock, f"{shares[0]:.0%}", processor, f"{shares[1]:.0%}"
    rest = [f"{1 - share:.0%}" for share in shares]
    yield "not of the networks", "", rest[0], "", rest[1]


if __name__ == "__main__":
    main()
