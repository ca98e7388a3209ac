"""keras-parts data; and the options that name a data set, for all commands that read one."""

import functools

import click

from keras_parts.cli.options import CommandResult, given, output_options


def data_options(command):
    """--dataset and what belongs to it.

    The command takes `data`, a function `data(split) -> Dataset` with the attributes `name` and
    `settings`, the options of the reader.
    """

    @click.option("--dataset", required=True, metavar="NAME", help="See `data list`.")
    @click.option("--data-dir", metavar="DIR", help="Where the data set lies.")
    @click.option(
        "--masks",
        metavar="DIR",
        help="folder: masks named as the images are, 'alpha' for the images' own opacity, or a "
        "COCO JSON.",
    )
    @click.option("--skip-bad", is_flag=True, help="folder: leave out images with a problem.")
    @click.option(
        "--data-option",
        "data_settings",
        multiple=True,
        metavar="NAME=VALUE",
        help="Any other option of the data set's reader; the value is JSON, or a word.",
    )
    @functools.wraps(command)
    def run(dataset, data_dir, masks, skip_bad, data_settings, **options):
        settings = given(data_dir=data_dir, masks=masks, skip_bad=skip_bad or None)
        settings |= _parsed(data_settings)

        def data(split):
            from keras_parts.data import load

            return load(dataset, split, **settings)

        data.name, data.settings = dataset, settings
        return command(data=data, **options)

    return run


def _parsed(settings):
    """{name: value} of --data-option."""
    if not settings:
        return {}
    from keras_parts.training.recipes import parse_setting

    changes = dict(map(parse_setting, settings))
    if reserved := {"name", "split", "data_dir"} & set(changes):
        raise click.UsageError(f"--data-option {reserved.pop()}: it has an option of its own")
    return changes


@click.group()
def data():
    """List, prepare, check and show data sets."""


@data.command("list")
@output_options
def list_datasets(quiet):
    """List the data sets and the truth that each has."""
    from keras_parts.data import DATASETS
    from keras_parts.data.catalogue import about

    known = [about(name) for name in DATASETS]
    width = max(len(one.name) for one in known)
    truth = max(len(one.truth) for one in known)
    lines = [f"{one.name:<{width}}  {one.truth:<{truth}}  {one.title}" for one in known]
    rows = [{"name": one.name, "title": one.title, "truth": one.truth} for one in known]
    return CommandResult({"datasets": rows}, "\n".join(lines))


@data.command("info")
@click.argument("name")
@output_options
def info(name, quiet):
    """Tell the licence of a data set, how to obtain it, its splits and options."""
    from dataclasses import asdict

    from keras_parts.data.catalogue import about

    one = about(name)
    sections = [
        one.title,
        one.description,
        f"Truth: {one.truth}",
        f"Splits: {', '.join(one.splits)}",
        f"Licence: {one.licence}",
        f"How to obtain it: {one.how_to_obtain}",
        f"Options (--data-option NAME=VALUE):\n{one.options}",
    ]
    return CommandResult(asdict(one), "\n\n".join(filter(None, sections)))


@data.command("check")
@data_options
@click.option("--split", default="all", show_default=True, help="Split to read.")
@output_options
def check(data, split, quiet):
    """Read everything and report every problem, with file and line.

    The exit code is 3 where there are problems. What a partial copy lacks is noted, and is none.
    """
    from keras_parts.cli.group import FAILED, SOME_FAILED
    from keras_parts.data.catalogue import about
    from keras_parts.data.check import check as read_all

    if split not in about(data.name).splits and split == "all":
        split = "train"
    report = read_all(data.name, split, progress=not quiet, **data.settings)
    content = {"dataset": data.name, "split": split, "samples": report.samples}
    content |= {"problems": list(report.problems), "notes": list(report.notes)}
    count = len(report.problems)
    found = "no problem" if not count else "1 problem" if count == 1 else f"{count} problems"
    lines = [f"{data.name}, split {split}: {report.samples:,} samples read, {found}."]
    code = 0 if not count else SOME_FAILED if report.samples else FAILED
    return CommandResult(content, "\n".join([*report.problems, *report.notes, *lines]), code)


@data.command("show")
@data_options
@click.option("--split", default="train", show_default=True, help="Split to take samples from.")
@click.option("--count", default=16, show_default=True, type=click.IntRange(1), metavar="N")
@click.option("--output", "-o", required=True, metavar="FILE", help="The picture to write.")
@output_options
def show(data, split, count, output, quiet):
    """Draw samples with their boxes, masks and keypoints, to look at."""
    from keras_parts.data.sample_sheet import sample_sheet
    from keras_parts.results.pictures import save_picture

    dataset = data(split)
    save_picture(sample_sheet(dataset, count), output)
    shown = min(count, len(dataset))
    content = {"dataset": data.name, "split": split, "shown": shown, "output": output}
    content["landmarks"] = list(dataset.info.landmarks)
    lines = [f"{shown} of {len(dataset):,} samples of {data.name} in {output}"]
    if dataset.info.landmarks:
        numbered = (f"{number} {name}" for number, name in enumerate(dataset.info.landmarks, 1))
        lines.append(f"Keypoints: {', '.join(numbered)}")
    return CommandResult(content, "\n".join(lines))


@data.command("prepare")
@click.argument("name")
@click.option("--data-dir", metavar="DIR", help="The data as they were downloaded.")
@click.option("--output", "-o", metavar="DIR", help="Folder for what is made of them.")
@output_options
def prepare(name, data_dir, output, quiet):
    """Bring a data set into the form that is read fastest, downloading what may be downloaded.

    cub_parts: downloads the archives (or takes them from --data-dir), verifies and packs them.
    celebamask: makes one label map of each face's masks. Others are read as they come.
    """
    from keras_parts.cli.group import NOTHING_TO_DO
    from keras_parts.data.catalogue import about
    from keras_parts.data.preparation import PREPARATIONS

    one = about(name)
    if name not in PREPARATIONS:
        text = f"{name} is read as it comes: there is nothing to prepare. {one.how_to_obtain}"
        return CommandResult({"dataset": name, "samples": 0}, text, NOTHING_TO_DO)
    samples, folder = PREPARATIONS[name](data_dir, output, progress=not quiet)
    content = {"dataset": name, "output": str(folder), "samples": samples}
    text = f"{name}: {samples:,} samples; read them with --dataset {name} --data-dir {folder}"
    return CommandResult(content, text)
