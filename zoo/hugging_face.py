"""Repositories on Hugging Face as locations of entries, through its own library.

The library sends the token that `hf auth login` or HF_TOKEN gave, keeps what it downloads in its
cache, and reaches private and gated repositories. It comes with the extra `hf`.
"""

import contextlib
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from keras_parts.environment import OFFLINE_VARIABLE, hugging_face_address, offline
from keras_parts.errors import ConfigError, DownloadError, KerasPartsError
from keras_parts.extras import import_from_extra
from keras_parts.zoo.cards import CARD_FILE, FileRecord, read_document

HUB = "hf://"
"""Prefix of the address of a repository."""
FORM = f"{HUB}USER/REPOSITORY"
HOW_TO_REQUEST = "`keras-parts zoo list --refresh` (zoo.list(refresh=True)) requests it"
"""The way out for a location whose index was never requested."""
_WORD = r"(?!\.\.?(?:/|@|\Z))[\w.-]+"
_ADDRESS = re.compile(
    rf"hf://(?P<name>{_WORD}/{_WORD})(@(?P<revision>{_WORD}))?(/(?P<path>{_WORD}(/{_WORD})*))?/?",
    re.IGNORECASE | re.ASCII,
)
_T = TypeVar("_T")


class HubRepository:
    """A repository on Hugging Face, or a folder in it: hf://USER/REPOSITORY[@REVISION][/PATH].

    Attributes:
        name: USER/REPOSITORY.
        revision: a branch, tag or commit; "" for the main branch.
        path: of the folder in the repository, "" for its root.

    Raises:
        ConfigError: not such an address.
    """

    def __init__(self, address: str) -> None:
        found = _ADDRESS.fullmatch(address.removesuffix(f"/{CARD_FILE}"))
        if not found:
            raise ConfigError(f"{address}: expected {FORM}, or {FORM}@REVISION/PATH", value=address)
        self.name = found["name"]
        self.revision, self.path = found["revision"] or "", found["path"] or ""

    def __str__(self) -> str:
        revision = self.revision and f"@{self.revision}"
        return f"{HUB}{self.name}{revision}{self.path and '/'}{self.path}"

    def below(self, path: str) -> "HubRepository":
        """A folder inside this one; `path` consists of checked names."""
        return HubRepository(f"{self}/{path}")

    def parent(self) -> "tuple[HubRepository, str] | None":
        """The folder that this one is in, and this one's name there; None for a repository."""
        if not self.path:
            return None
        above, _, name = str(self).rpartition("/")
        return HubRepository(above), name

    def contains(self, other: object) -> bool:
        """Whether another location is this one or lies below it."""
        return isinstance(other, HubRepository) and f"{other}/".startswith(f"{self}/")

    def read(
        self, name: str, parse: Callable[[bytes], _T], *, max_bytes: int, refresh: bool = True
    ) -> _T:
        """The content of a small file; see `Folder.read`. Without `refresh`, the cached copy."""
        return parse(read_document(self._file(name, max_bytes, request=refresh), max_bytes))

    def fetch(
        self, name: str, record: FileRecord, part: Path, report: Callable[[int], object]
    ) -> None:
        """Download a file; see `transfer.download`."""
        source = self._file(name, record.size)
        record.check(source, source=f"{self}/{name}")
        shutil.copyfile(source, part)
        report(record.size)
        record.check(part, source=f"{self}/{name}")

    def _file(self, name: str, max_bytes: int, *, request: bool = True) -> Path:
        """The path of a file in the library's cache, downloaded if necessary."""
        hub = import_from_extra("huggingface_hub", "hf")
        request = request and not offline()
        inside = f"{self.path}/{name}" if self.path else name
        where: dict[str, Any] = {
            "repo_id": self.name,
            "filename": inside,
            "revision": self.revision or None,
            "endpoint": hugging_face_address(),
        }
        token = hub.get_token() or False
        with translated(f"{self}/{name}", requested=request):
            if request:
                # Before anything is received: the library has no maximum of its own.
                metadata = hub.get_hf_file_metadata(hub.hf_hub_url(**where), token=token)
                if metadata.size is not None and metadata.size > max_bytes:
                    found = f"{metadata.size:,} bytes, expected {max_bytes:,} at most"
                    raise DownloadError(f"{self}/{name}: has {found}")
            return Path(hub.hf_hub_download(**where, token=token, local_files_only=not request))


@contextlib.contextmanager
def translated(source: str, *, requested: bool = True) -> Iterator[None]:
    """Raise the library's errors as DownloadError, with the way out."""
    try:
        yield
    except KerasPartsError:
        raise
    except Exception as error:  # its HTTP client, whose errors it raises, is not always the same
        status = getattr(getattr(error, "response", None), "status_code", None)
        if not requested:
            reason = f", because {OFFLINE_VARIABLE} is set" if offline() else ""
            way_out = "" if reason else f": {HOW_TO_REQUEST}"
            text = f"{source}: not requested{reason}, and there is no cached copy{way_out}"
        elif status in (401, 403, 404):
            text = (
                f"{source}: Hugging Face refuses (HTTP {status}): there is no such file, or your "
                "account may not use it: log in with `hf auth login`, or set HF_TOKEN"
            )
        else:
            first_line = next(iter(str(error).splitlines()), type(error).__name__)
            text = f"{source}: Hugging Face cannot be reached: {first_line}"
        raise DownloadError(text, url=source, status=status) from error
