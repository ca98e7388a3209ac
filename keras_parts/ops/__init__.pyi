from .colour import colour_jitter, greyscale, rgb_to_lab
from .logits import join_background, join_parts, split_background
from .masks import binary_mask
from .pooling import l2_normalise, part_descriptors, part_means, part_sums, prominence
from .replicas import gather_rows, own_rows, replica_count, sum_over_replicas, uniform_rows
from .resampling import (
    downsample_aligned,
    finest_size,
    resize_aligned,
    resize_aligned_transpose,
    resized_squared_norm,
)
from .warps import CONTROL_POINTS, grid_sample, random_source_points, thin_plate_grid

__all__ = [
    "CONTROL_POINTS",
    "binary_mask",
    "colour_jitter",
    "downsample_aligned",
    "finest_size",
    "gather_rows",
    "greyscale",
    "grid_sample",
    "join_background",
    "join_parts",
    "l2_normalise",
    "own_rows",
    "part_descriptors",
    "part_means",
    "part_sums",
    "prominence",
    "random_source_points",
    "replica_count",
    "resize_aligned",
    "resize_aligned_transpose",
    "resized_squared_norm",
    "rgb_to_lab",
    "split_background",
    "sum_over_replicas",
    "thin_plate_grid",
    "uniform_rows",
]
