"""Trains the teacher of the `toy` data set: the network `small` classifies species of animals.

It is trained on labels of species, never of parts, and on 120 species that are not in the data set.
Random crops, mirroring and colour jitter make it depend on shapes and textures. The script writes
the weights that ship with the package, in half precision, and prints their checksum for
`keras_parts/backbones/small.py`.

    KERAS_BACKEND=tensorflow python benchmarks/train_toy_teacher.py --output small_toy.weights.h5
"""

import argparse
import hashlib
import tempfile
from pathlib import Path

import h5py
import keras
import numpy as np
from tqdm import trange

from keras_parts.backbones.small import OUTPUTS, small
from keras_parts.data.toy.animals import PALETTE
from keras_parts.data.toy.dataset import ToyDataset
from keras_parts.keras_private import set_random_seed
from keras_parts.ops import colour_jitter

SPECIES = range(len(PALETTE), len(PALETTE) + 120)  # the first ones are those of the data set
CROP = 97


class Classifier(keras.Model):
    """The network with a head for species; jitters colours in training."""

    def __init__(self, seed):
        super().__init__()
        self.network = small(16, OUTPUTS[1:], classes=len(SPECIES))
        self.seed = keras.random.SeedGenerator(seed)

    def call(self, images, training=False):
        if training:
            images = colour_jitter(
                images, self.seed, brightness=0.3, contrast=0.3, saturation=0.3, hue=0.1
            )
        inputs = self.network.preprocessing.apply(255 * images)
        return self.network(inputs, training=training)["classes"]


def batches(dataset, size, rng):
    """Random crops, 0.4 to 1 of the image's side, mirrored with probability 0.5."""
    from PIL import Image

    while True:
        images, labels = [], []
        for index in rng.integers(len(dataset), size=size):
            sample = dataset[int(index)]
            side = np.exp(rng.uniform(np.log(0.4), 0)) * sample.size[0]
            left, top = rng.random(2) * (sample.size[0] - side)
            crop = Image.fromarray(sample.image).resize(
                (CROP, CROP), Image.Resampling.BILINEAR, (left, top, left + side, top + side)
            )
            image = np.asarray(crop, np.float32) / 255
            images.append(image[:, ::-1] if rng.random() < 0.5 else image)
            labels.append(sample.category)
        yield np.stack(images), np.eye(len(SPECIES), dtype=np.float32)[labels]


def save_half(network, path):
    """Write the layers that all configurations of `small` share, in half precision."""
    trained = {layer.name: layer for layer in network.layers}
    shipped = small(outputs=OUTPUTS)
    for layer in shipped.layers:
        if layer.weights:
            layer.set_weights(trained[layer.name].get_weights())
    with tempfile.TemporaryDirectory() as folder:
        full = Path(folder) / "full.weights.h5"
        shipped.save_weights(full)
        with h5py.File(full) as source, h5py.File(path, "w") as target:

            def copy(name, item):
                if isinstance(item, h5py.Dataset):
                    target.create_dataset(name, data=item[()].astype(np.float16))
                else:
                    target.require_group(name).attrs.update(item.attrs)

            source.visititems(copy)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--images", type=int, default=9600)
    parser.add_argument("--steps", type=int, default=1800)
    parser.add_argument("--seed", type=int, default=5)
    options = parser.parse_args()

    set_random_seed(options.seed)
    dataset = ToyDataset("train", count=options.images, seed=options.seed, species=SPECIES)
    model = Classifier(options.seed)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, options.steps, warmup_target=3e-3, warmup_steps=min(100, options.steps // 2)
    )
    model.compile(
        keras.optimizers.AdamW(rate, weight_decay=0.02, global_clipnorm=1.0),
        keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
        metrics=["accuracy"],
    )
    stream = batches(dataset, 32, np.random.default_rng(options.seed))
    with trange(options.steps, unit="step") as bar:
        for _ in bar:
            loss, accuracy = model.train_on_batch(*next(stream))
            bar.set_postfix(loss=f"{loss:.3f}", accuracy=f"{accuracy:.3f}")
            model.reset_metrics()
    save_half(model.network, options.output)
    print(hashlib.sha256(options.output.read_bytes()).hexdigest(), options.output)


if __name__ == "__main__":
    main()
