"""Remarks about files of samples, each kind counted once."""

from os import PathLike, fspath


class Remarks:
    """Collects remarks about files, and sums up each kind in one sentence.

    Args:
        kind: what the files are, for the sentences: "masks", for example.

    Example:
        >>> from keras_parts.data.readers.remarks import Remarks
        >>> remarks = Remarks("masks")
        >>> for name in ("a", "b"):
        ...     remarks.add("has transparency", name, f"{name}.png")
        >>> remarks.notes(total=3)
        ('a.png has transparency (2 of 3 masks)',)
    """

    def __init__(self, kind: str):
        self._kind = kind
        self._files: dict[str, dict[str, str]] = {}

    def add(self, remark: str, sample: str, file: PathLike | str) -> None:
        """Add a remark about a file of a sample; repeated calls count once. Threads may call it.

        Args:
            remark: continues a sentence that begins with the file: "has transparency", for example.
            sample: id of the sample.
            file: the file.
        """
        self._files.setdefault(remark, {})[sample] = fspath(file)

    def count(self, remark: str) -> int:
        """The number of samples with a remark."""
        return len(self._files.get(remark, {}))

    def notes(self, total: int) -> tuple[str, ...]:
        """A sentence for each kind of remark, with the first file in order.

        Args:
            total: number of all files.
        """
        return tuple(
            f"{files[min(files)]} {remark} ({len(files):,} of {total:,} {self._kind})"
            for remark, files in sorted(self._files.items())
        )
