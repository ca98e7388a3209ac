"""The precision with which layers are made."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras


@contextmanager
def precision_policy(policy: Any) -> Iterator[None]:
    """Set the dtype policy of Keras, with which layers are made, for the length of the block.

    Args:
        policy: a name, such as "mixed_bfloat16", or a `keras.dtype_policies.DTypePolicy`.
    """
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(previous)
