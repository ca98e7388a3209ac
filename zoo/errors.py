"""What can go wrong with a model's name."""

from keras_parts.errors import KerasPartsError


class UnknownModel(KerasPartsError):
    """No model of the zoo has this name, and no folder either."""
