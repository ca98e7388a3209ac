"""Terms of use on a card: what a model inherits, and whether commercial use is allowed."""

import functools
import logging
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from keras_parts.training.origins import Origin
    from keras_parts.zoo.cards import Licences

_LOG = logging.getLogger(__name__)
NO_LICENCE = "none given: only the owner may use, change or share these weights"
"""The licence on the card of weights for which no licence was given."""
_INHERITED = "; inherited from "
_UNKNOWN = "unknown"
_OWN = "the owner's"
"""Licence of the weights of a run, which nobody has packed."""
_FORBIDDEN = re.compile(
    r"non-?\s?commercial|\bresearch\b|\beducation|\bacademic|\bNC\b|none given", re.IGNORECASE
)
_OPEN = re.compile(
    r"(apache-2\.0|mit|isc|bsd-[23]-clause|cc0(-1\.0)?|cc-by(-sa)?-[1-4]\.\d|public domain)\b(?!-)",
    re.IGNORECASE,
)


def inherit(own: str, origins: "Iterable[Origin]", kind: str) -> str:
    """Terms of a model with those of the models that it began from, where these are others.

    Args:
        own: terms of the model's own data or weights.
        origins: the models that it began from.
        kind: "data"; or "weights", whose licence passes to models that are initialised with them,
            unless it is the same.

    Example:
        >>> from keras_parts.training.origins import Origin
        >>> from keras_parts.zoo.terms import inherit
        >>> inherit("the owner's", [Origin("cub@2.0.0", "teacher", "research only")], "data")
        "the owner's; inherited from cub@2.0.0 (teacher): research only"
    """
    uses: dict[tuple[str, str], list[str]] = {}
    for origin in origins:
        terms = getattr(origin, kind)
        if kind == "weights" and (origin.use != "initialisation" or terms in ("", own)):
            continue
        first, *others = (terms or _UNKNOWN).split(_INHERITED)
        uses.setdefault((origin.model, first), []).append(origin.use)
        for other in others:
            model, _, theirs = other.partition(" (")
            uses.setdefault((model, theirs.partition("): ")[2]), []).append(origin.use)
    clauses = [own_terms(own)] + [
        f"{model} ({', '.join(dict.fromkeys(use))}): {terms}"
        for (model, terms), use in uses.items()
        if terms != own_terms(own)
    ]
    return _INHERITED.join(clauses)


def own_terms(terms: str) -> str:
    """Terms without those that `inherit` added."""
    return terms.partition(_INHERITED)[0]


def licences_of(folder: "Path") -> "tuple[str, Licences] | None":
    """Name and terms of the model in a folder, from its card or its run; None without either.

    Args:
        folder: of the segmenter.

    Raises:
        IntegrityError: the card is damaged.
    """
    from keras_parts.errors import DataError
    from keras_parts.training.origins import run_origins
    from keras_parts.training.run_folder import run_of_segmenter
    from keras_parts.zoo.cards import CARD_FILE, Licences, read_card

    if (folder / CARD_FILE).is_file():
        card = read_card(folder)
        return card.id, card.licences
    run = run_of_segmenter(folder)
    if run is None:
        return None
    try:
        config = run.read_config()
    except DataError:
        return None
    origins = run_origins(config)
    data = config.get("data", {}).get("licence") or _UNKNOWN
    terms = Licences(
        code="",
        weights=inherit(_OWN, origins, "weights"),
        data=inherit(data, origins, "data"),
    )
    return run.path.name, terms


def forbids_commercial_use(terms: str) -> bool:
    """Whether terms forbid commercial use, by their words: see `commercial_use`."""
    return _FORBIDDEN.search(terms) is not None


@functools.cache  # the warning comes once
def say_terms(model: str, terms: str, kind: str = "") -> None:
    """Warn if terms forbid commercial use.

    Args:
        model: name of the model.
        terms: of its weights or training data.
        kind: which of them, for the warning; "" for all.
    """
    if forbids_commercial_use(terms):
        of = f"Terms of its {kind}" if kind else "Its terms"
        _LOG.warning("%s is not for commercial use. %s: %s", model, of, terms)


def commercial_use(licences: "Licences") -> bool | None:
    """Whether the terms of weights and data allow commercial use; None if they do not say it.

    The words of the terms decide: "non-commercial" or "research" forbid it, and the name of an open
    licence, such as "CC0-1.0", allows it. Read the terms themselves before you rely on it.

    Example:
        >>> from keras_parts import zoo
        >>> from keras_parts.zoo.terms import commercial_use
        >>> commercial_use(zoo.info("toy").licences), commercial_use(zoo.info("cub").licences)
        (True, False)
    """
    if any(map(forbids_commercial_use, (licences.weights, licences.data))):
        return False
    first, *others = f"{licences.weights}{_INHERITED}{licences.data}".split(_INHERITED)
    clauses = [first, *(clause.partition("): ")[2] or clause for clause in others)]
    return True if all(map(_OPEN.match, clauses)) else None
