"""The losses of part discovery under their public name: see `keras_parts.discovery.objectives`."""

from keras_parts.discovery.objectives import (
    balance,
    cluster_cross_entropy,
    contrastive,
    equivariance,
    feature_consistency,
    foreground_cross_entropy,
    visual_consistency,
)

__all__ = [
    "balance",
    "cluster_cross_entropy",
    "contrastive",
    "equivariance",
    "feature_consistency",
    "foreground_cross_entropy",
    "visual_consistency",
]
