"""keras-parts segment"""

import contextlib
import functools
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from keras_parts.cli.choosing import choose_model, choose_output, model_options, say_loading
from keras_parts.cli.completion import complete_format
from keras_parts.cli.group import NOTHING_TO_DO, SOME_FAILED
from keras_parts.cli.messages import write_message
from keras_parts.cli.options import (
    Choice,
    CommandResult,
    examples,
    given,
    looks_option,
    model_name,
    precision_option,
    runtime_options,
)
from keras_parts.cli.pipes import (
    STANDARD_INPUT,
    check_pipe,
    from_clipboard,
    is_clipboard,
    piped_result,
)
from keras_parts.cli.runtime import Runtime, choose_runtime, import_keras
from keras_parts.cli.segment_video import segment_videos, video_options, videos_among

if TYPE_CHECKING:
    from keras_parts.inference import ImageFile, Summary
    from keras_parts.inference.engine import EngineFactory
    from keras_parts.models.predictor import Predictor


_BATCH_OF_FEW = 8
"""Batch size "auto" of ONNX Runtime and exports, which use all cores for a single image too, and
the largest one for few images."""
_FEW = 64
"""Number of images up to which the batch size is not measured."""


def _batch_size(context: click.Context, option: click.Parameter, value: str) -> int | str:
    if value == "auto":
        return value
    if not value.isdecimal() or not int(value):
        raise click.BadParameter(f"{value!r} is neither a number from 1 nor auto")
    return int(value)


@click.command(
    epilog=examples(
        "segment photos/",
        "segment photos/ --of faces --format csv --format coco",
        "segment 'photos/**/*.jpg' --model runs/mine --output out/",
        "segment photos/ --model cub.onnx",
        "segment clip.mp4 --fps 5",
        "segment - --format cutout < bird.jpg > cutout.png",
    )
)
@click.argument("paths", nargs=-1, required=True, metavar="PATHS...")
@model_options
@click.option(
    "--output",
    "-o",
    metavar="DIR",
    help="Folder for the results [default: images-parts, for images/ or for files in it].",
)
@click.option(
    "--format",
    "formats",
    multiple=True,
    metavar="FORMAT",
    shell_complete=complete_format,
    help="Format of the results, repeatable; see above [default: indexed, overlay, page].",
)
@click.option(
    "--batch-size",
    default="auto",
    metavar="N",
    callback=_batch_size,
    help="Number of images in a batch; auto measures which is fastest [default: auto].",
)
@precision_option
@click.option(
    "--flip",
    is_flag=True,
    help="Average probabilities with those of the mirrored image, at twice the cost.",
)
@looks_option
@click.option(
    "--tile",
    type=click.IntRange(16),
    metavar="PIXELS",
    help="Cut images that are larger than PIXELS into tiles, which are seen once.",
)
@click.option("--shard", metavar="I/N", help="Segment only the I-th of N shards of the images.")
@click.option(
    "--resume/--overwrite",
    "resume",
    default=True,
    help="Resume the same run in DIR (the default), or remove the results of another run first.",
)
@click.option(
    "--verify",
    is_flag=True,
    help="Compare the contents of finished images, not only their sizes and dates.",
)
@click.option("--strict", is_flag=True, help="Stop at the first image that fails.")
@click.option(
    "--max-failures", type=click.IntRange(0), metavar="N", help="Stop after more than N failures."
)
@click.option(
    "--max-pixels", type=click.IntRange(1), metavar="N", help="Images with more pixels fail."
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    metavar="N",
    help="Number of decoding threads, and of writing threads.",
)
@click.option("--dry-run", is_flag=True, help="Only count the images.")
@click.option(
    "--engine",
    type=Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Segment in this process, or with Ray on one or several machines.",
)
@click.option(
    "--ray-address",
    metavar="ADDRESS",
    help="Address of a Ray cluster; auto finds one [default: start one].",
)
@click.option("--workers", type=click.IntRange(1), metavar="N", help="Number of Ray actors.")
@video_options
@runtime_options
def segment(
    paths: Sequence[str], model: str | None, of: str | None, trust: bool, output: str | None,
    formats: Sequence[str], batch_size: int | str, precision: str | None, flip: bool, looks: Any,
    tile: int | None, strict: bool, max_failures: int | None, dry_run: bool, resume: bool,
    engine: str, ray_address: str | None, workers: int | None, seed: int | None, quiet: bool,
    runtime: str, backend: str | None, device: str | None, **options: Any,
) -> CommandResult:  # fmt: skip
    """Segment image files and videos into parts.

    PATHS are files, folders (with all folders below), patterns such as 'photos/**/*.jpg', @list.txt
    (one path in each line), - (such a list on standard input), and CSV or Parquet manifests with a
    column "image" or "path"; also addresses such as s3://bucket/photos, and clipboard: for the
    picture on the clipboard. Results keep the names and folders of the images.

    If a picture is on standard input, - segments it and writes one result to standard output:
    --format overlay (PNG, the default), cutout (PNG, the objects without their background), labels
    (PNG), json, overlay-plain, overlay-webp or soft.

    Of a video (extra `video`), such as clip.mp4, DIR/overlay.mp4 shows the parts and DIR/parts.csv
    lists them for each frame.

    Images that fail are reported, listed in DIR/failures.jsonl and skipped; the exit code is then
    3. The same command resumes an interrupted run: finished results in DIR are kept. All shards of
    a run write to the same DIR; the last one to finish writes the files with the results of all
    images.

    Formats with a file for each image: indexed (PNG of labels), overlay (JPEG), overlay-webp,
    overlay-png, overlay-plain (JPEG without the parts' names), soft (probabilities, npz), cutouts
    (PNG). Formats with one file: coco, label-studio, cvat, csv, parquet, descriptors (Parquet),
    descriptors-npy, page (DIR/index.html, on which the parts of all pictures light up, with a file
    for each picture beside it).
    """
    from keras_parts import inference
    from keras_parts.images.formats import begins_like_image
    from keras_parts.inference.run import check_settings

    started = time.monotonic()
    standard_input = _standard_input(paths)
    if standard_input is not None and begins_like_image(standard_input):
        return _segment_picture(standard_input, click.get_current_context())
    videos = {name: options.pop(name) for name in ("every", "fps", "momentum")}
    if videos_among(paths, videos):
        return segment_videos(click.get_current_context(), _create_predictor)
    _check_paths(paths)
    model = choose_model(model, of, trust=trust, quiet=quiet)
    output = choose_output(paths, output, model=model, quiet=quiet)
    files = _find_images(from_clipboard(paths, output), output, standard_input)
    if not files:
        text = "Nothing to do: there are no images among the inputs."
        if os.path.isdir(output):
            text = f"{text} Images in the output folder {output} do not count."
        empty = {"found": 0, "done": 0, "failed": 0, "output": output}
        return CommandResult(empty, text, NOTHING_TO_DO)
    if strict and max_failures:
        raise click.UsageError(
            f"--strict is --max-failures 0, but --max-failures is {max_failures}: give only one"
        )
    formats = formats or inference.DEFAULT_FORMATS
    check_settings(output, formats, shard=options["shard"], overwrite=not resume)
    if tile and looks == 2:
        raise click.UsageError(f"--tile {tile} sees each tile once: leave out --looks 2")

    context = click.get_current_context()
    recorded = inference.recorded_runtime(output) if resume else None
    chosen = choose_runtime(model, context.params, recorded=recorded)
    say_loading(model, quiet=quiet)
    if seed is not None and chosen == "keras":
        import_keras()
        from keras_parts.keras_private import set_random_seed

        set_random_seed(seed)
    if batch_size == "auto":
        batch_size = inference.recorded_batch_size(output) or _batch_size_of_few(len(files))
    settings = {
        "flip": flip,
        "tile": tile,
        "looks": looks,
        "descriptors": any(
            name.startswith("descriptors")
            for name in (*formats, *(inference.recorded_formats(output) if resume else ()))
        ),
    }
    few = isinstance(batch_size, int) and len(files) <= batch_size and not tile
    if few and chosen == "keras" and engine == "local":
        settings["compiled"] = False  # there are two batches at most, one for each look
    predictor = _create_predictor(
        model, chosen, precision, {"batch_size": batch_size, **settings}, trust=trust
    )
    if engine == "ray":
        settings["batch_size"] = predictor.batch_size
        create = functools.partial(
            _create_predictor,
            _seen_from_elsewhere(model),
            chosen,
            precision,
            settings,
            trust=trust,
        )
        options["engine"] = _ray_engine(create, ray_address, workers)
    summary = inference.segment_files(
        predictor,
        files,
        output,
        formats,
        model=model_name(model),
        max_failures=0 if strict else max_failures,
        overwrite=not resume,
        dry_run=dry_run,
        progress=not quiet,
        on_failure=lambda failure: _write_line(f"Failed: {failure}"),
        on_remark=None if quiet else lambda path, remark: _write_line(f"{path}: {remark}"),
        arguments=context.params | {"model": model, "output": output},
        **given(**options),
    )
    seconds = time.monotonic() - started
    text = _dry_run_text(summary) if dry_run else _text(summary, seconds)
    content = summary.to_json() | {"model": model, "total_seconds": round(seconds, 3)}
    return CommandResult(content, text, SOME_FAILED if summary.failed else 0)


def _write_line(text: str) -> None:
    """Write a message about an image, whose name may have line feeds, as one line."""
    write_message(text.replace("\n", "\\n"))


def _segment_picture(content: bytes, context: click.Context) -> CommandResult:
    """Segment the picture on standard input; its parts go to standard output."""
    from keras_parts.images import decode_image

    format_name, options = check_pipe(context), context.params
    decoded = decode_image(content, "standard input", **given(max_pixels=options["max_pixels"]))
    if not options["quiet"]:
        for remark in decoded.remarks:
            _write_line(f"standard input: {remark}")
    model = choose_model(
        options["model"], options["of"], trust=options["trust"], quiet=options["quiet"]
    )
    runtime = choose_runtime(model, options)
    say_loading(model, quiet=options["quiet"])
    settings = {name: options[name] for name in ("flip", "tile", "looks", "batch_size")}
    if settings["batch_size"] == "auto":
        settings["batch_size"] = _batch_size_of_few(1)
    if runtime == "keras" and not settings["tile"]:
        settings["compiled"] = False
    predictor = _create_predictor(
        model, runtime, options["precision"], settings, trust=options["trust"]
    )
    return piped_result(predictor.segment(decoded.image), format_name)


def _standard_input(paths: Sequence[str]) -> bytes | None:
    """The content of standard input, if it is among the paths."""
    from keras_parts.inference.inputs import read_standard_input

    return read_standard_input() if STANDARD_INPUT in paths else None


def _find_images(
    paths: Sequence[str], output: str, standard_input: bytes | None
) -> "list[ImageFile]":
    from keras_parts import inference

    with _usage_errors():
        return inference.find_images(paths, exclude=[output], standard_input=standard_input)


def _check_paths(paths: Sequence[str]) -> None:
    """Refuse paths that do not exist, before anything is said or asked."""
    from keras_parts.inference.inputs import check_paths

    if not is_clipboard(paths):
        with _usage_errors():
            check_paths(paths)


@contextlib.contextmanager
def _usage_errors() -> Iterator[None]:
    """Let a wrong path be wrong usage."""
    from keras_parts.errors import DataError

    try:
        yield
    except DataError as error:
        raise click.UsageError(str(error)) from error


def _create_predictor(
    model: str, runtime: Runtime, precision: str | None, settings: Mapping[str, Any], *, trust: bool
) -> "Predictor":
    """The predictor of a model or of an export; also called in Ray's processes."""
    if runtime != "keras":
        settings = _settings_of_export(settings, precision)
    if runtime == "export":
        from keras_parts.exports import format_at, open_export
        from keras_parts.zoo.terms import say_terms

        export = open_export(str(format_at(model)), model)
        say_terms(model_name(model), export.metadata["licence"])
        return export.predictor(**settings)
    if runtime == "onnx":
        from keras_parts.zoo.models import load_network

        return load_network(model, **settings)
    import_keras()
    import keras

    from keras_parts import models, zoo

    if precision:
        keras.config.set_dtype_policy(precision)
    return models.create_predictor(zoo.load(model, trust=trust), **settings)


def _settings_of_export(settings: Mapping[str, Any], precision: str | None) -> dict[str, Any]:
    """The settings that the predictor of an export takes; the others are refused."""
    settings = dict(settings)
    refused = {
        "--precision": precision,
        "--flip": settings.pop("flip", False),
        "--format descriptors": settings.pop("descriptors", False),
    }
    for option, value in refused.items():
        if value:
            raise click.UsageError(f"an export has no {option}: give the Keras model to --model")
    if settings.get("batch_size") == "auto":
        settings["batch_size"] = _BATCH_OF_FEW
    return settings


def _batch_size_of_few(count: int) -> int | str:
    """The batch size "auto" where measuring it takes longer than the images do: the smallest power
    of two that has them all."""
    return "auto" if count > _FEW else min(_BATCH_OF_FEW, 1 << (count - 1).bit_length())


def _seen_from_elsewhere(model: str) -> str:
    """A model in Ray's processes, which have another working folder."""
    from keras_parts.exports import format_at

    return os.path.abspath(model) if os.path.isdir(model) or format_at(model) else model


def _ray_engine(
    create: "Callable[[], Predictor]", address: str | None, workers: int | None
) -> "EngineFactory":
    from keras_parts.inference.distributed import ray_engine

    return ray_engine(create, address=address, workers=workers)


def _text(summary: "Summary", seconds: float) -> str:
    """The sentence at the end; `seconds` is the whole time, loading included."""
    kept = f", {summary.kept} were finished before" if summary.kept else ""
    failed = f", {summary.failed} failed (see failures.jsonl)" if summary.failed else ""
    shards = ""
    if not summary.complete:
        shards = "\nThe last shard to finish will write the files with the results of all images."
    page = ""
    has_pictures = summary.done + summary.kept > 0
    if summary.complete and has_pictures and "page" in summary.formats:
        page = f"\nTo look at them, open {os.path.join(summary.output, 'index.html')} in a browser."
    if summary.kept == summary.found and not summary.done and not summary.failed:
        images = f"All {summary.found} images" if summary.found > 1 else "The image"
        return (
            f"{images} had been segmented before, in {summary.output} "
            f"({', '.join(summary.formats)}); --overwrite segments again.{shards}{page}"
        )
    return (
        f"Segmented {summary.done} of {summary.found} images into {summary.output} "
        f"({', '.join(summary.formats)}) in {seconds:.1f} s, "
        f"{summary.images_per_second:.1f} a second once loaded{kept}{failed}.{shards}{page}"
    )


def _dry_run_text(summary: "Summary") -> str:
    missing = summary.found - summary.kept
    return (
        f"Would segment {missing} of {summary.found} images into {summary.output} "
        f"({', '.join(summary.formats)}); {summary.kept} are finished."
    )
