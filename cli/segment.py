"""keras-parts segment"""

import functools
import os
import sys

import click

from keras_parts.cli.group import NOTHING_TO_DO, SOME_FAILED
from keras_parts.cli.options import CommandResult, common_options, given, model_name
from keras_parts.cli.runtime import import_keras


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATHS...")
@click.option("--model", required=True, help="A name of `zoo list`, or the folder of a run.")
@click.option("--output", "-o", required=True, metavar="DIR", help="Folder for the results.")
@click.option(
    "--format",
    "formats",
    multiple=True,
    metavar="FORMAT",
    help="What to write, repeatable; see below [default: indexed, overlay].",
)
@click.option(
    "--batch-size",
    default="auto",
    metavar="N",
    callback=lambda context, option, value: _batch_size(value),
    help="Pictures a batch; auto tries which is the fastest [default: auto].",
)
@click.option("--precision", metavar="POLICY", help="float32, mixed_bfloat16 or mixed_float16.")
@click.option("--flip", is_flag=True, help="Average with the mirrored image, at twice the cost.")
@click.option(
    "--tile", type=click.IntRange(16), metavar="PIXELS", help="Cut larger pictures into tiles."
)
@click.option("--shard", metavar="I/N", help="Only the I-th of N shares of the pictures.")
@click.option(
    "--resume/--overwrite",
    "resume",
    default=True,
    help="Go on with the same run in DIR (the default), or remove another one's results first.",
)
@click.option("--strict", is_flag=True, help="Stop at the first picture that fails.")
@click.option("--max-failures", type=click.IntRange(0), metavar="N", help="Stop after more.")
@click.option("--max-pixels", type=click.IntRange(1), metavar="N", help="Refuse larger pictures.")
@click.option(
    "--threads", type=click.IntRange(1), metavar="N", help="Decoding and writing threads."
)
@click.option("--dry-run", is_flag=True, help="Only say what there is to do.")
@click.option("--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True)
@click.option(
    "--ray-address", metavar="ADDRESS", help="auto, or that of a cluster; else a new one."
)
@click.option("--workers", type=click.IntRange(1), metavar="N", help="ray: number of actors.")
@common_options
def segment(
    paths, model, output, formats, batch_size, precision, flip, tile, strict, max_failures, dry_run,
    resume, engine, ray_address, workers, seed, quiet, **options,
):  # fmt: skip
    """Segment picture files into parts.

    PATHS are files, folders (with all below them), patterns such as 'photos/**/*.jpg', @list.txt
    (one path a line), - (the same on standard input), and CSV or Parquet manifests with a column
    "image" or "path"; also addresses such as s3://bucket/photos. Results keep the names and folders
    of the pictures.

    Pictures that fail are reported, listed in DIR/failures.jsonl and skipped: the exit code is 3
    then. A run that was stopped goes on when it is started again: DIR keeps what is finished. The
    shards of a run write to one DIR; the last one to end merges.

    Formats of a file a picture: indexed (PNG of labels), overlay (JPEG), overlay-webp, overlay-png,
    overlay-plain (JPEG without the parts' names), soft (probabilities, npz), cutouts (PNG). Formats
    of one file: coco, label-studio, cvat, csv, parquet, descriptors (Parquet), descriptors-npy.
    """
    from keras_parts import inference, models, zoo
    from keras_parts.errors import DataError

    try:
        files = inference.find_images(paths, exclude=[output])
    except DataError as error:
        raise click.UsageError(str(error)) from error
    if not files:
        text = "Nothing to do: there are no pictures among the inputs."
        empty = {"found": 0, "done": 0, "failed": 0, "output": output}
        return CommandResult(empty, text, NOTHING_TO_DO)
    if strict and max_failures:
        raise click.UsageError("--strict is --max-failures 0: give one")

    import_keras()
    import keras

    if seed is not None:
        keras.utils.set_random_seed(seed)
    if precision:
        keras.config.set_dtype_policy(precision)
    formats = formats or ("indexed", "overlay")
    if batch_size == "auto":
        batch_size = inference.recorded_batch_size(output) or batch_size
    network_options = {
        "flip": flip,
        "tile": tile,
        "descriptors": any(name.startswith("descriptors") for name in formats),
    }
    network = models.create_predictor(zoo.load(model), batch_size, **network_options)
    if engine == "ray":
        from keras_parts.inference.distributed import ray_engine

        network_options["batch_size"] = network.batch_size
        place = os.path.abspath(model) if os.path.isdir(model) else model
        make = functools.partial(_load_network, place, precision, network_options)
        options["engine"] = ray_engine(make, ray_address, workers)
    summary = inference.segment_files(
        network,
        files,
        output,
        formats,
        model=model_name(model),
        which_shard=options.pop("shard"),
        max_failures=0 if strict else max_failures,
        overwrite=not resume,
        dry_run=dry_run,
        progress=not quiet,
        on_failure=lambda failure: _report(f"Failed: {failure}"),
        on_remark=None if quiet else lambda path, remark: _report(f"{path}: {remark}"),
        arguments=click.get_current_context().params,
        **given(**options),
    )
    text = _dry_text(summary) if dry_run else _text(summary)
    return CommandResult(summary.to_json(), text, SOME_FAILED if summary.failed else 0)


def _load_network(model, precision, options):
    """The network, in another process."""
    import_keras()
    import keras

    from keras_parts import models, zoo

    if precision:
        keras.config.set_dtype_policy(precision)
    return models.create_predictor(zoo.load(model), **options)


def _batch_size(value):
    if value == "auto":
        return value
    if not value.isdecimal() or not int(value):
        raise click.BadParameter(f"{value!r} is neither a number from 1 nor auto")
    return int(value)


def _text(summary):
    kept = f", {summary.kept} were finished before" if summary.kept else ""
    failed = f", {summary.failed} failed (see failures.jsonl)" if summary.failed else ""
    shards = "" if summary.complete else "\nThe last shard to end will write what all share."
    return (
        f"Segmented {summary.done} of {summary.found} pictures into {summary.output} "
        f"({', '.join(summary.formats)}) in {summary.seconds:.1f} s, "
        f"{summary.images_per_second:.1f} a second{kept}{failed}.{shards}"
    )


def _dry_text(summary):
    missing = summary.found - summary.kept
    return (
        f"Would segment {missing} of {summary.found} pictures into {summary.output} "
        f"({', '.join(summary.formats)}); {summary.kept} are finished."
    )


def _report(text):
    from tqdm import tqdm

    tqdm.write(text, file=sys.stderr)
