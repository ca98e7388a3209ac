"""keras-parts segment"""

import sys

import click

from keras_parts.cli.group import NOTHING_TO_DO, SOME_FAILED
from keras_parts.cli.options import Answer, common_options, given
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
    help="indexed (PNG) or overlay (JPEG), repeatable; all by default.",
)
@click.option("--batch-size", type=click.IntRange(1), metavar="N", help="Pictures a batch.")
@common_options
def segment(paths, model, output, formats, batch_size, seed, quiet):
    """Segment picture files into parts.

    PATHS are files, folders (with all below them) and patterns such as 'photos/**/*.jpg'. Results
    go to DIR/FORMAT/, with the names and folders of the pictures; DIR/labels.json names the parts.
    Pictures that cannot be read are reported, listed in DIR/failures.jsonl and skipped: the exit
    code is 3 then.
    """
    from keras_parts import zoo
    from keras_parts.errors import DataError
    from keras_parts.inference import find_images, segment_files

    try:
        files = find_images(paths, exclude=[output])
    except DataError as error:
        raise click.UsageError(str(error)) from error
    if not files:
        text = "Nothing to do: there are no pictures among the inputs."
        return Answer({"done": 0, "failed": 0, "output": output}, text, NOTHING_TO_DO)

    import_keras()
    segmenter = zoo.load(model)
    if seed is not None:
        import keras

        keras.utils.set_random_seed(seed)
    summary = segment_files(
        segmenter,
        files,
        output,
        progress=not quiet,
        on_failure=_report,
        **given(formats=formats, batch_size=batch_size),
    )
    text = (
        f"Segmented {summary.done} of {len(files)} pictures into {summary.output} "
        f"({', '.join(summary.formats)}) in {summary.seconds:.1f} s, "
        f"{summary.images_per_second:.1f} a second."
    )
    return Answer(summary.to_json(), text, SOME_FAILED if summary.failed else 0)


def _report(failure):
    from tqdm import tqdm

    tqdm.write(f"Failed: {failure}", file=sys.stderr)
