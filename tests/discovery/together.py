"""The losses that can be computed from one batch of features."""

from keras_parts.discovery.losses import LOSSES

TOGETHER = [name for name in LOSSES if name != "distillation"]
"""Losses that take the same features; those of distillation are part logits."""
