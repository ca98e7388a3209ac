"""What can go wrong between a model's name and its files; damaged files are an
`IntegrityError`."""

from keras_parts.errors import ZooError

__all__ = ["DownloadError", "NotTrusted", "UnknownModel", "ZooError"]


class UnknownModel(ZooError):
    """No model of the zoo has this name, and no folder either."""


class NotTrusted(ZooError):
    """An address that is not in the registry, and nobody said that it may be used."""


class DownloadError(ZooError):
    """A file cannot be had, from none of the places that were asked."""
