"""A drawn data set whose red channel is the part label, and models that read it with or without
noise."""

import numpy as np
import pytest

from keras_parts.data import Dataset, DatasetInfo, Sample

PARTS = 3


class Drawn(Dataset):
    """Animals of three parts on a background; the red channel of a pixel is its part label."""

    def __init__(self, samples, name, categories):
        self.info = DatasetInfo(
            name,
            landmarks=("head", "wing", "tail", "beak"),
            part_names=("front", "middle", "back"),
            categories=categories,
        )
        self.samples = samples
        self.reads = 0

    def __len__(self):
        return len(self.samples)

    def read(self, index):
        self.reads += 1
        return self.samples[index]


def draw(name, rng, category, height=40, width=56):
    """An animal of three vertical blocks somewhere in the image, with four keypoints."""
    left, top = int(rng.integers(4, 14)), int(rng.integers(4, 14))
    labels = np.zeros((height, width), np.uint8)
    for part in range(PARTS):
        labels[top : top + 20, left + 12 * part : left + 12 * (part + 1)] = part + 1
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    image[..., 0] = labels
    points = rng.uniform((1, 1), (11, 19), (4, 2)) + np.array([[0, 0], [12, 0], [24, 0], [0, 0]])
    return Sample(
        id=name,
        image=image,
        foreground=labels > 0,
        keypoints=(points + (left, top) - 0.5).astype(np.float32),
        visible=rng.random(4) < 0.8,
        box=np.array([left, top, left + 36, top + 20], np.float32) - 0.5,
        part_labels=labels,
        category=category,
    )


def perfect(images):
    """Logits of a model that reads the part labels from the red channel."""
    return [10 * (image[..., :1] == np.arange(PARTS + 1)).astype(np.float32) for image in images]


@pytest.fixture
def draw_animals():
    """A function that draws a data set of animals; their categories alternate."""

    def animals(count, seed=0, name="drawn", categories=("animal",)):
        rng = np.random.default_rng(seed)
        samples = [
            draw(f"animal {seed}.{i}", rng, category=i % len(categories)) for i in range(count)
        ]
        return Drawn(samples, name, categories)

    return animals


@pytest.fixture
def drawn(draw_animals):
    return draw_animals(11)


@pytest.fixture
def perfect_maps():
    return perfect


@pytest.fixture
def noisy_maps():
    """A model with noisy logits, always the same for the same image."""

    def maps(images):
        rngs = [np.random.default_rng(image.sum()) for image in images]
        truth = perfect(images)
        return [
            logits + rng.normal(0, 8, logits.shape).astype(np.float32)
            for logits, rng in zip(truth, rngs, strict=True)
        ]

    return maps
