"""Flicker of the parts in a video: each frame alone, and averaged over frames.

    python benchmarks/video.py                                                  # toy
    python benchmarks/video.py --model cub --dataset cub --data-dir CUB_200_2011

A window pans and zooms over each photograph, or stands still over it, and its frames are written to
a video and read back. As the camera's way is known, so is where each point of a frame was in the
frame before. Flicker: the share of the pixels that were or are foreground whose label changes
although they show the same point. IoU: of the foreground with the data set's mask, after the first
two frames.
"""

import argparse
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np
from measuring import print_machine, print_table
from PIL import Image

from keras_parts import zoo
from keras_parts.data import load
from keras_parts.images.video import open_video, video_writer
from keras_parts.inference.smoothing import Smoother
from keras_parts.models import create_predictor
from keras_parts.results import Parts

SOURCE, FRAME = (750, 1000), (360, 480)
"""(height, width) of the photograph under the window, and of a frame."""
RATE = 25
MOMENTA = (0.0, 0.8)


def window(share, moving):
    """`(2, 3)`: from points of a frame to those of the photograph, at a share of the way."""
    (height, width), whole = SOURCE, SOURCE[1] / FRAME[1]
    x, y, scale = width / 2, height / 2, 0.67 * whole
    if moving:
        x, y = width * (0.42 + 0.16 * share), height * (0.45 + 0.09 * np.sin(3 * share))
        scale = whole * (0.72 - 0.17 * share)
    return np.array([[scale, 0, x - scale * FRAME[1] / 2], [0, scale, y - scale * FRAME[0] / 2]])


def seen(picture, matrix, resampling):
    """A picture under an affine map, of a frame's size; 0 outside."""
    size = FRAME[::-1]
    return picture.transform(size, Image.Transform.AFFINE, tuple(matrix.ravel()), resampling)


def square(matrix):
    return np.vstack([matrix, [0, 0, 1]])


def flicker(labels, windows):
    """The share of foreground pixels whose label is not what their point had in the last frame."""
    changed = total = 0
    for before, after, old, new in zip(labels, labels[1:], windows, windows[1:], strict=False):
        back = (np.linalg.inv(square(old)) @ square(new))[:2]
        moved = np.asarray(seen(Image.fromarray(before + 1), back, Image.Resampling.NEAREST))
        moved = moved.astype(int) - 1
        counted = (moved > 0) | ((moved == 0) & (after > 0))
        changed += (moved != after)[counted].sum()
        total += counted.sum()
    return changed / max(total, 1)


def record(photograph, windows, path):
    """The frames of a video of the photograph, as they are read back."""
    with video_writer(path, Fraction(RATE)) as write:
        for number, matrix in enumerate(windows):
            frame = seen(photograph, matrix, Image.Resampling.BICUBIC)
            write(np.asarray(frame), number / RATE)
    with open_video(path) as video:
        return [frame.pixels for frame in video.frames()]


def measure(predictor, sample, moving, count, folder):
    """[flicker and IoU for each of `MOMENTA`] of one photograph."""
    windows = [window(number / (count - 1), moving) for number in range(count)]
    photograph = Image.fromarray(sample.image).resize(SOURCE[::-1], Image.Resampling.BICUBIC)
    mask = Image.fromarray(sample.foreground.astype(np.uint8) * 255).resize(photograph.size)
    frames = record(photograph, windows, folder / "clip.mp4")
    logits = [parts.logits for frame in frames for parts in predictor.segment_all([frame])]
    values = []
    for momentum in MOMENTA:
        smoother = Smoother(momentum)
        labels = [
            Parts(smoother.smooth(*one), one[0]).labels for one in zip(frames, logits, strict=True)
        ]
        ious = []
        for found, matrix in zip(labels[2:], windows[2:], strict=True):
            true = np.asarray(seen(mask, matrix, Image.Resampling.BILINEAR)) > 127
            union = (true | (found > 0)).sum()
            ious.append((true & (found > 0)).sum() / max(union, 1))
        values += [flicker(labels, windows), np.mean(ious)]
    return values


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="toy")
    parser.add_argument("--dataset", default="toy")
    parser.add_argument("--data-dir")
    parser.add_argument("--count", type=int, default=3, help="number of photographs")
    parser.add_argument("--frames", type=int, default=12, help="number of frames of each, from 3")
    options = parser.parse_args()
    dataset = load(options.dataset, "test", options.data_dir)
    predictor = create_predictor(zoo.load(options.model), batch_size=1)
    header = ["photograph", "camera", "flicker alone", "averaged", "IoU alone", "averaged"]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for index in np.linspace(0, len(dataset) - 1, options.count).astype(int):
            sample = dataset[int(index)]
            for moving in (True, False):
                alone, iou, averaged, iou_averaged = measure(
                    predictor, sample, moving, options.frames, Path(folder)
                )
                shares = (alone, averaged, iou, iou_averaged)
                camera = "pans and zooms" if moving else "stands still"
                rows.append([sample.id, camera, *(f"{100 * share:.1f} %" for share in shares)])
    print_machine()
    print_table(header, rows)


if __name__ == "__main__":
    main()
