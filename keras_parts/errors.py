"""The errors of the package: each names what is wrong, where, and the way out."""


class KerasPartsError(Exception):
    """Base of every error that the package raises on purpose."""


class DataError(KerasPartsError):
    """Input data that cannot be used: names the file, the line or value, and the way out."""


class ConfigError(KerasPartsError, ValueError):
    """A setting outside its range, or settings that contradict each other."""


class IntegrityError(KerasPartsError):
    """A file whose size, checksum or structure is not what its card promises."""


class ZooError(KerasPartsError):
    """A model cannot be had; `keras_parts.zoo.errors` says why. Here, so that who catches it need
    not import the zoo."""
