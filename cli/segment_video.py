"""`keras-parts segment` for videos."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from keras_parts.cli.choosing import choose_model, choose_output, say_loading
from keras_parts.cli.options import CommandResult, given, model_name
from keras_parts.cli.runtime import choose_runtime

if TYPE_CHECKING:
    from keras_parts.models.predictor import Predictor

_OWN = {"every": "--every", "fps": "--fps", "momentum": "--smooth"}
"""Options that are for videos only."""
_TAKEN = {
    *(
        "paths",
        "model",
        "of",
        "trust",
        "output",
        "batch_size",
        "precision",
        "flip",
        "looks",
        "tile",
    ),
    *("resume", "runtime", "backend", "device", "seed", "as_json", "quiet", "verbose", *_OWN),
}
CreatePredictor = Callable[..., "Predictor"]


def video_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for videos."""
    every = click.option(
        "--every", type=click.IntRange(1), metavar="N", help="Of a video, each N-th frame."
    )
    fps = click.option("--fps", type=float, metavar="F", help="Of a video, F frames a second.")
    smooth = click.option(
        "--smooth",
        "momentum",
        type=click.FloatRange(0, 1, max_open=True),
        metavar="SHARE",
        help="Share of the frames before in the parts of a video, against flicker; 0 for each "
        "frame alone [default: 0.8].",
    )
    return every(fps(smooth(command)))


def videos_among(paths: Sequence[str], options: Mapping[str, Any]) -> bool:
    """Whether the paths are videos.

    Raises:
        click.UsageError: there are videos and other paths, or options for videos without one.
    """
    from keras_parts.images.formats import VIDEO_SUFFIXES

    videos = [one for one in paths if os.path.splitext(one)[1].lower() in VIDEO_SUFFIXES]
    if videos and len(videos) < len(paths):
        raise click.UsageError(f"{videos[0]} is a video: give videos and pictures in two commands")
    for name, option in _OWN.items():
        if not videos and options[name] is not None:
            raise click.UsageError(f"{option} is for videos, but there is none among the paths")
    return bool(videos)


def segment_videos(context: click.Context, create: CreatePredictor) -> CommandResult:
    """Segment the videos among the paths of the command.

    Args:
        context: of the command `segment`.
        create: makes the predictor from a model, its runtime, a precision, settings and `trust`.
    """
    from keras_parts.images.video import open_video

    started, options = time.monotonic(), context.params
    _check_options(context)
    paths, quiet = options["paths"], options["quiet"]
    for path in paths:
        with open_video(path):  # before the model is loaded
            pass
    model = choose_model(options["model"], options["of"], trust=options["trust"], quiet=quiet)
    output = choose_output(paths, options["output"], model=model, quiet=quiet)
    runtime = choose_runtime(model, options)
    say_loading(model, quiet=quiet)
    settings = {name: options[name] for name in ("flip", "tile", "looks", "batch_size")}
    if settings["batch_size"] == "auto":
        del settings["batch_size"]
    predictor = create(model, runtime, options["precision"], settings, trust=options["trust"])
    from keras_parts.inference import segment_video

    found = [
        segment_video(
            predictor,
            path,
            output if len(paths) == 1 else os.path.join(output, os.path.basename(path)),
            overwrite=not options["resume"],
            progress=not quiet,
            **given(**{name: options[name] for name in _OWN}),
        )
        for path in paths
    ]
    seconds = time.monotonic() - started
    frames = sum(one.frames for one in found)
    lines = [f"{one.overlay}, {one.table}: {one.frames} frames of {one.video}" for one in found]
    lines.append(f"Segmented {frames} frames in {seconds:.1f} s.")
    content = {"model": model_name(model), "videos": [one.to_json() for one in found]}
    return CommandResult(content | {"total_seconds": round(seconds, 3)}, "\n".join(lines))


def _check_options(context: click.Context) -> None:
    """Raise click.UsageError for an option that is for pictures only."""
    for option in context.command.params:
        assert option.name is not None
        is_given = context.get_parameter_source(option.name) == ParameterSource.COMMANDLINE
        if is_given and option.name not in _TAKEN:
            raise click.UsageError(
                f"{option.opts[0]} is for pictures, but {context.params['paths'][0]} is a video"
            )
