"""keras-parts search"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click
from click.shell_completion import CompletionItem

from keras_parts.addresses import is_address
from keras_parts.cli.choosing import say_loading
from keras_parts.cli.completion import complete_model, typed
from keras_parts.cli.group import NOTHING_TO_DO
from keras_parts.cli.messages import write_message
from keras_parts.cli.options import (
    CommandResult,
    common_options,
    examples,
    text_table,
    trust_option,
)
from keras_parts.cli.pipes import STANDARD_INPUT, is_clipboard
from keras_parts.cli.runtime import import_keras
from keras_parts.errors import ConfigError, DataError, KerasPartsError, ZooError

if TYPE_CHECKING:
    from keras_parts.inference import Match, PartIndex
    from keras_parts.models.predictor import Predictor
    from keras_parts.results import Parts
    from keras_parts.results.search_page import Example


def _complete_part(
    context: click.Context, option: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    from keras_parts.inference.search import part_names

    given = context.params.get("results") or next(iter(context.args), "")  # where click keeps it
    try:
        names = part_names(given)
    except (KerasPartsError, OSError):
        return []
    return [typed(name) for name in names if name.startswith(incomplete)]


@click.command(
    epilog=examples(
        "search photos-parts/ --like bird.jpg --part beak",
        "search photos-parts/ --like a.jpg --like b.jpg --part 1 --part 4 --output found/",
    )
)
@click.argument("results", type=click.Path(), metavar="RESULTS")
@click.option(
    "--like",
    multiple=True,
    required=True,
    metavar="IMAGE",
    help="Picture to search with, repeatable: a file, folder, pattern or address; clipboard: is "
    "the picture on the clipboard, and - one on standard input.",
)
@click.option(
    "--part",
    "parts",
    multiple=True,
    metavar="PART",
    shell_complete=_complete_part,
    help="Part to compare, repeatable: its name, a word of it, or its number.",
)
@click.option(
    "--object",
    "number",
    type=click.IntRange(1),
    metavar="N",
    help="Number of the object in the picture, by size [default: the largest one with the part].",
)
@click.option(
    "--top",
    type=click.IntRange(1),
    default=10,
    show_default=True,
    metavar="N",
    help="Number of matches.",
)
@click.option(
    "--output", "-o", metavar="DIR", help="Write a page with the matches, DIR/index.html."
)
@click.option(
    "--images",
    metavar="DIR",
    help="Folder of the segmented images, if it has been moved since.",
)
@click.option(
    "--model",
    shell_complete=complete_model,
    help="Where the model is that RESULTS were segmented with [default: where it was then].",
)
@trust_option
@common_options
def search(
    results: str, like: Sequence[str], parts: Sequence[str], number: int | None, top: int,
    output: str | None, images: str | None, model: str | None, trust: bool, seed: int | None,
    quiet: bool,
) -> CommandResult:  # fmt: skip
    """Find the parts that look most like those of a picture.

    RESULTS is the output folder of `segment ... --format descriptors-npy` (or descriptors), which
    has a vector for each part of each object. The picture is segmented with the same model and
    settings, and its part compared with the others by the cosine of these vectors, from -1 to 1.

    With several pictures or parts, the mean over these counts. Objects that do not show all the
    parts are left out, and so is the picture itself.
    """
    from keras_parts import inference
    from keras_parts.results.search_page import check_page_folder

    index = inference.PartIndex(results)
    if not parts:
        listed = ", ".join(f"{label} {name}" for label, name in enumerate(index.names, start=1))
        raise click.UsageError(f"--part says which part to compare: {listed}")
    labels = [index.label(part) for part in parts]
    given_pictures = _given_pictures(like)
    if output:
        check_page_folder(output)
    predictor = _predictor(index, model, trust=trust, quiet=quiet)
    pictures = [
        _segmented(predictor, content, path, quiet=quiet) for path, content in given_pictures
    ]
    if number:
        pictures = [_object(each, number) for each in pictures]
    for each in () if quiet else pictures:
        if len(each.objects) > 1:
            write_message(
                f"{each.path} shows {len(each.objects)} objects: the largest with the part "
                "counts; --object N takes another"
            )
    pictures = index.objects(pictures, labels)
    matches = index.search(pictures, labels, top=top)
    names = ", ".join(index.names[label - 1] for label in labels)
    content: dict[str, Any] = {
        "results": results,
        "model": index.model,
        "parts": [{"label": label, "name": index.names[label - 1]} for label in labels],
        "like": [path for path, _ in given_pictures],
        "matches": [
            asdict(match) | {"path": index.file(match.image, images).path} for match in matches
        ],
    }
    compared = min(map(index.count, labels))
    count = len(given_pictures)
    shown = os.path.basename(given_pictures[0][0]) if count == 1 else f"{count} pictures"
    title = f"{names} like {shown}"
    text = f"{title}: the most similar of {compared:,} in {results}\n{_table(matches)}"
    if not matches:
        text = f"No other image in {results} shows {names}."
    elif output:
        content["page"] = _write_page(
            output, title, index, labels, pictures, matches, predictor, images, quiet=quiet
        )
        text += f"\nTo look at them, open {content['page']} in a browser."
    return CommandResult(content, text, 0 if matches else NOTHING_TO_DO)


def _table(matches: "Sequence[Match]") -> str:
    rows = [("rank", "similarity", "object", "image")]
    rows += [
        (f"{match.rank:4}", f"{match.similarity:10.3f}", f"{match.object:6}", match.image)
        for match in matches
    ]
    return text_table(rows)


def _predictor(index: "PartIndex", model: str | None, *, trust: bool, quiet: bool) -> "Predictor":
    """The predictor with which the images of the folder were segmented."""
    if not model and not trust and "://" in index.model:
        # Whoever made the folder wrote the address.
        raise ConfigError(
            f"{index.path} was segmented with {index.model}: give --trust if you trust this "
            "address",
            setting="model",
        )
    say_loading(model or index.model, quiet=quiet)
    import_keras()
    import keras

    from keras_parts import zoo

    precision = index.configuration.get("precision")
    if precision and precision != keras.config.dtype_policy().name:
        keras.config.set_dtype_policy(precision)
    try:
        segmenter = zoo.load(model or index.model, trust=trust)
    except ZooError as error:
        if model:
            raise
        raise ConfigError(
            f"{index.path} was segmented with {index.model}, which is not here ({error}): give "
            "--model with the folder in which it is now",
            setting="model",
        ) from error
    return index.predictor(segmenter)


def _given_pictures(like: Sequence[str]) -> list[tuple[str, bytes]]:
    """(path, or what stands for it; content) of the pictures to search with."""
    from keras_parts.images.clipboard import read_clipboard
    from keras_parts.inference import find_images
    from keras_parts.inference.inputs import read_standard_input
    from keras_parts.results.pictures import picture_bytes

    found, paths = [], []
    for path in like:
        if path == STANDARD_INPUT:
            found.append(("standard input", read_standard_input()))
        elif is_clipboard([path]):
            copied = read_clipboard()
            if isinstance(copied, list):
                paths += copied
            else:
                found.append(("the clipboard", picture_bytes(copied, ".png")))
        else:
            paths.append(path)
    try:
        files = find_images(paths)
    except DataError as error:
        raise click.UsageError(str(error)) from error
    found += [(file.path, file.read()) for file in files]
    if not found:
        raise click.UsageError(f"--like {' '.join(like)}: there are no images")
    return found


def _segmented(predictor: "Predictor", content: bytes, path: str, *, quiet: bool = True) -> "Parts":
    from keras_parts.images import decode_image

    decoded = decode_image(content, path)
    for remark in () if quiet else decoded.remarks:
        write_message(f"{path}: {remark}")
    return replace(predictor.segment(decoded.image), path=path)


def _object(parts: "Parts", number: int) -> "Parts":
    if number > len(parts.objects):
        raise DataError(f"{parts.path}: shows {len(parts.objects)} objects, not --object {number}")
    return parts.objects[number - 1]


def _write_page(
    output: str,
    title: str,
    index: "PartIndex",
    labels: Sequence[int],
    pictures: "Sequence[Parts]",
    matches: "Sequence[Match]",
    predictor: "Predictor",
    images: str | None,
    *,
    quiet: bool,
) -> str:
    from keras_parts.results.search_page import Example, write_search_page

    missing: list[str] = []

    def found() -> "Iterator[Example]":
        for match in matches:
            file = index.file(match.image, images)
            note = f"{match.rank}: {match.similarity:.3f}"
            try:
                # The address stands in the results, which somebody else may have made.
                if is_address(file.root) and not images:
                    raise DataError(f"{file.path}: addresses are not opened unasked")
                parts = _object(_segmented(predictor, file.read(), file.path), match.object)
            except KerasPartsError as error:
                missing.append(str(error))
                yield Example(None, match.image, note)
                continue
            several = f", object {match.object}" if match.object > 1 else ""
            yield Example(parts, match.image, note + several, _link(file.path, output))

    path = write_search_page(
        output,
        labels,
        (Example(parts, os.path.basename(parts.path or "")) for parts in pictures),
        found(),
        title=title,
        settings=index.configuration,
    )
    if missing and not quiet:
        write_message(
            f"Not on the page: {len(missing)} of {len(matches)} images. {missing[0]}. If the "
            "images were moved, give --images with their folder."
        )
    return path


def _link(path: str, folder: str) -> str:
    """The address of a file relative to a page in a folder; "" for none."""
    try:
        return quote(os.path.relpath(path, folder).replace(os.sep, "/"))
    except ValueError:  # on another drive
        return ""
