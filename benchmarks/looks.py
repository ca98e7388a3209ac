"""One look beside two looks, with objects of several sizes: IoU of the foreground and FG-NMI.

    python benchmarks/looks.py                                        # toy
    python benchmarks/looks.py --model cub-8 --dataset cub --data-dir CUB_200_2011 --count 200

Each test object is cut out of its photograph by its mask, resized so that the longer side of its
box has --shares of the picture's side, and pasted at a random position onto a background: the
largest square beside the object in another photograph of the data set. (What a mask leaves out of
an object is missing in its picture too.) The same objects, positions
and backgrounds are used for both rows of a size. FG-NMI is that of the protocol
keypoints-foreground or, without keypoints, pixels-foreground.
"""

import argparse
from dataclasses import replace

import numpy as np
from measuring import print_machine, print_table
from PIL import Image, ImageFilter

from keras_parts import zoo
from keras_parts.data import Dataset, Subset, load
from keras_parts.data.crops import crop, image_box, mask_box
from keras_parts.files import atomic_path
from keras_parts.metrics import SegmenterModel, evaluate
from keras_parts.results.pictures import contact_sheet

LOOKS = (1, 2)
PICTURED = 2
BACKGROUNDS = 64
"""Number of photographs whose backgrounds are used, those with the largest squares."""


def with_masks(dataset, count):
    """At most `count` samples, evenly spaced over those whose mask is not empty."""
    filled = [index for index in range(len(dataset)) if dataset[index].foreground.any()]
    return Subset(dataset, filled[:: -(-len(filled) // count)])


def largest_square_beside(box, size):
    """(4,): the largest square of an image of `size` (height, width) that a box leaves free."""
    x0, y0, x1, y1 = image_box(*size)
    strips = [
        (x0, y0, box[0], y1),
        (box[2], y0, x1, y1),
        (x0, y0, x1, box[1]),
        (x0, box[3], x1, y1),
    ]

    def side(strip):
        return min(strip[2] - strip[0], strip[3] - strip[1])

    best = max(strips, key=side)
    return np.array([*best[:2], best[0] + side(best), best[1] + side(best)])


class Pasted(Dataset):
    """Objects of a data set, pasted onto backgrounds of other images of it.

    Args:
        dataset: with masks.
        backgrounds: `{index of the sample: (4,) square beside its object}`.
        share: of the picture's side that the longer side of an object's box has.
        side: of the pictures in pixels.
    """

    def __init__(self, dataset, backgrounds, share, side):
        self.info, self.masks_from = dataset.info, dataset.masks_from
        self._dataset, self._backgrounds = dataset, backgrounds
        self._share, self._side = share, side

    def __len__(self):
        return len(self._dataset)

    def read(self, index):
        rng = np.random.default_rng(index)
        sample = self._dataset[index]
        box = mask_box(sample.foreground)
        longer = (box[2:] - box[:2]).max()
        free = longer / self._share - (box[2:] - box[:2])
        corner = box[:2] - rng.uniform(0, 1, 2) * free
        window = np.concatenate([corner, corner + longer / self._share])
        placed = crop(sample, window, self._side)
        mask = Image.fromarray(placed.foreground.astype(np.uint8) * np.uint8(255))
        softened = mask.filter(ImageFilter.GaussianBlur(1))
        image = Image.composite(
            Image.fromarray(placed.image), self._background(index, rng), softened
        )
        return replace(placed, image=np.asarray(image))

    def _background(self, index, rng):
        others = [other for other in self._backgrounds if other != index]
        other = int(rng.choice(others))
        square = self._backgrounds[other]
        return Image.fromarray(crop(self._dataset[other], square, self._side).image)


def backgrounds_of(dataset):
    """`{index: (4,) square}` of the samples with the most room beside their object."""
    squares = {}
    for index in range(len(dataset)):
        sample = dataset[index]
        squares[index] = largest_square_beside(mask_box(sample.foreground), sample.size)
    order = sorted(squares, key=lambda index: squares[index][2] - squares[index][0], reverse=True)
    return {index: squares[index] for index in order[:BACKGROUNDS]}


def measured(model, dataset, num_parts):
    """(IoU, boundary F, FG-NMI) in per cent."""
    kind = "pixels" if dataset[0].keypoints is None else "keypoints"
    names = ["masks", f"{kind}-foreground"]
    values = evaluate(model, dataset, num_parts, names, progress=False).values
    masks = values["masks"]
    return masks["IoU"], masks["boundary F"], values[f"{kind}-foreground"]["FG-NMI"]


def draw(segmenter, pictures, path):
    """Save the first pictures of each size, and their parts with one look and with two."""
    images = [dataset[index].image for dataset in pictures for index in range(PICTURED)]
    rows = [[segmenter.segment(image, looks=looks) for image in images] for looks in LOOKS]
    cells = [
        cell
        for image, *parts in zip(images, *rows, strict=True)
        for cell in (Image.fromarray(image), *(one.overlay(names=False) for one in parts))
    ]
    with atomic_path(path) as unfinished:
        contact_sheet(cells, columns=3 * PICTURED, cell=240).save(unfinished, "png")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="toy")
    parser.add_argument("--dataset", default="toy")
    parser.add_argument("--data-dir")
    parser.add_argument("--split", default="test")
    parser.add_argument("--count", type=int, default=100, help="objects, evenly over the split")
    parser.add_argument("--side", type=int, default=640, help="side of the pictures in pixels")
    parser.add_argument("--shares", type=float, nargs="+", default=[100, 50, 25, 12])
    parser.add_argument("--picture", help="PNG file: some pictures of each size with their parts")
    options = parser.parse_args()
    segmenter = zoo.load(options.model)
    objects = with_masks(load(options.dataset, options.split, options.data_dir), options.count)
    backgrounds = backgrounds_of(objects)
    pictures = [Pasted(objects, backgrounds, share / 100, options.side) for share in options.shares]
    print_machine()
    print(
        f"{options.model} on {len(objects):,} objects of {options.dataset}, split "
        f"{options.split}, pasted into pictures of {options.side} x {options.side} pixels\n"
    )
    rows = []
    for share, dataset in zip(options.shares, pictures, strict=True):
        for looks in LOOKS:
            model = SegmenterModel(segmenter, looks=looks)
            values = measured(model, dataset, segmenter.num_parts)
            rows.append((f"{share:g} %", looks, *(f"{value:.1f}" for value in values)))
    print_table(("object, of the picture's side", "looks", "IoU", "boundary F", "FG-NMI"), rows)
    if options.picture:
        draw(segmenter, pictures, options.picture)


if __name__ == "__main__":
    main()
