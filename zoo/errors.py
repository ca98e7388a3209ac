"""What can go wrong between a model's name and its files."""

from keras_parts.errors import KerasPartsError


class ZooError(KerasPartsError):
    """Base of the errors of this room; damaged files are an `IntegrityError`."""


class UnknownModel(ZooError):
    """No model of the zoo has this name, and no folder either."""


class NotTrusted(ZooError):
    """An address that is not in the registry, and nobody said that it may be used."""


class DownloadError(ZooError):
    """A file cannot be had, from none of the places that were asked."""
