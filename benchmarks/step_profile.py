"""Where the time of a training step goes: the networks' own arithmetic, and all the rest.

"networks" is a step of the same segmenter on as many images, forward, backward and the optimiser,
with a loss that costs nothing (and the teacher, where the recipe runs it in every step). What the
whole step takes beyond it goes into random transforms, losses and bookkeeping. Both live in one
process on the backend that KERAS_BACKEND names, and are measured in turns.

    python benchmarks/step_profile.py
    python benchmarks/step_profile.py --recipe paper --batch 6 --size 128
"""

import argparse

import keras
from keras import ops
from measuring import Times, print_machine, print_table, processor_timed
from train_step import random_discovery

from keras_parts.steps import TrainStep
from keras_parts.training.recipes import recipe


class Networks(TrainStep, keras.Model):
    """A discovery model's networks, trained as it trains them, on nothing."""

    def __init__(self, discovery):
        super().__init__(name="networks")
        self.discovery = discovery
        self.track_losses({"size": 1e-9})
        self.built = True

    def call(self, images, training=False):
        return self.discovery(images, training=training)

    def compute_losses(self, batch, training):
        image = ops.cast(batch["image"], "float32")
        first, second = self.discovery._segment(image, image, training)
        size = ops.mean(ops.square(first)) + ops.mean(ops.square(second))
        if self.discovery.teacher is not None:
            size = size + ops.mean(self.discovery.teacher(image))
        return {"size": size}


def steps_of(model, batch, count):
    data = ((batch,) for _ in range(count))
    return lambda: model.fit(data, steps_per_epoch=count, shuffle=False, verbose=0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="default")
    parser.add_argument("--size", type=int)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--steps", type=int, default=2, help="in each measurement")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()

    chosen = recipe(options.recipe, **({"size": options.size} if options.size else {}))
    batch_size = options.batch or chosen.batch_size
    whole, batch = random_discovery(chosen, batch_size)
    other, _ = random_discovery(chosen, batch_size)
    networks = Networks(other)
    networks.compile(other.optimizer)
    models = {"whole step": whole, "networks": networks}
    for model in models.values():
        steps_of(model, batch, 2)()
    clock = {name: [] for name in models}
    processor = {name: [] for name in models}
    for _ in range(options.repeats):
        for name, model in models.items():
            seconds, used, _ = processor_timed(steps_of(model, batch, options.steps))
            clock[name].append(seconds / options.steps)
            processor[name].append(used / options.steps)

    print_machine()
    print(
        f"Recipe {options.recipe} on {keras.backend.backend()}, batch {batch_size} at "
        f"{chosen.size} x {chosen.size}; median (range) of {options.repeats}.\n"
    )
    times = {name: [Times(tuple(each[name])) for each in (clock, processor)] for name in models}
    print_table(("part of a step", "wall-clock ms", "share", "processor ms", "share"), rows(times))


def rows(times):
    """Of `{part: (wall-clock, processor)}`, the whole step first, the networks last."""
    totals = [each.median for each in next(iter(times.values()))]
    for name, measured in times.items():
        shares = [each.median / total for each, total in zip(measured, totals, strict=True)]
        clock, processor = (each.cell(1000) for each in measured)
        yield name, clock, f"{shares[0]:.0%}", processor, f"{shares[1]:.0%}"
    rest = [f"{1 - share:.0%}" for share in shares]
    yield "transforms, losses, bookkeeping", "", rest[0], "", rest[1]


if __name__ == "__main__":
    main()
