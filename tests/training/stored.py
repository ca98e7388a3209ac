"""What trainings left on the disk."""

import h5py


def stored_weights(folder):
    """`{name: array}` of the segmenter in a run folder."""
    arrays = {}
    with h5py.File(folder / "segmenter" / "segmenter.weights.h5") as file:
        file.visititems(
            lambda name, item: (
                arrays.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
            )
        )
    return arrays
