"""Images as a camera stores them."""

import numpy as np


def stored_as(upright, orientation):
    """How a camera stores an upright image or mask with an EXIF orientation, 1 to 8."""
    turned = np.swapaxes(upright, 0, 1)
    return np.ascontiguousarray(
        {
            1: upright,
            2: upright[:, ::-1],
            3: upright[::-1, ::-1],
            4: upright[::-1],
            5: turned,
            6: turned[::-1],
            7: turned[::-1, ::-1],
            8: turned[:, ::-1],
        }[orientation]
    )
