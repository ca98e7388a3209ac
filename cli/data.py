"""The command `keras-parts data`, and the options of other commands that choose a data set."""

import functools
import os
import shlex
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from keras_parts.cli.choosing import check_model, say_loading
from keras_parts.cli.completion import complete_dataset, complete_model
from keras_parts.cli.group import Group
from keras_parts.cli.messages import write_message
from keras_parts.cli.options import (
    CommandResult,
    common_options,
    examples,
    given,
    is_answered,
    looks_option,
    model_name,
    output_options,
    trust_option,
)
from keras_parts.cli.runtime import import_keras, select_backend
from keras_parts.environment import offline
from keras_parts.errors import ConfigError

if TYPE_CHECKING:
    from keras_parts.data import Dataset
    from keras_parts.data.archives import Download
    from keras_parts.data.mask_folder import MaskSummary
    from keras_parts.foreground.methods import MaskMethod


@dataclass(frozen=True)
class ChosenDataset:
    """The data set that the options choose; a call with the name of a split loads the split.

    Attributes:
        name: name of the data set.
        settings: options of its reader.
        yes: download it without a question if it is not there.
        progress: show progress bars.
    """

    name: str
    settings: dict[str, Any]
    yes: bool = False
    progress: bool = True

    def __call__(self, split: str) -> "Dataset":
        from keras_parts.data import load

        self.obtain()
        if self.discovers:
            select_backend()
            import_keras()
        return load(self.name, split, progress=self.progress, **self.settings)

    @property
    def discovers(self) -> bool:
        """Whether objects are found in the images, because some have no mask."""
        return DISCOVER in (self.settings.get("masks"), self.settings.get("missing_masks"))

    @property
    def is_own(self) -> bool:
        """Whether it is a folder of the user's own photographs."""
        return self.name == _OWN

    def with_masks(self) -> "ChosenDataset":
        """The same, with objects that are found if these are photographs without masks."""
        if not self.is_own or self.settings.keys() & {"masks", "part_labels"}:
            return self
        return replace(self, settings=self.settings | {"masks": DISCOVER})

    @property
    def mask_command(self) -> str | None:
        """The command that shows the masks that are found; None if there are none, or if they are
        not those of own photographs."""
        if not (self.is_own and self.discovers and "data_dir" in self.settings):
            return None
        given = self.settings.get("masks") if "missing_masks" in self.settings else None
        photos, masks = str(self.settings["data_dir"]), str(given or "masks/")
        return f"keras-parts data masks {shlex.quote(photos)} --output {shlex.quote(masks)}"

    def photographs(self, split: str) -> "Dataset":
        """The images of a split alone, before objects are found in them."""
        from keras_parts.data.catalogue import load_photographs

        self.obtain()
        return load_photographs(self.name, split, **self.settings)

    @property
    def options(self) -> str:
        """What of it was given to the command, as words of a command line."""
        if self.is_own:
            words = [shlex.quote(str(self.settings.get("data_dir", "")))]
        else:
            words = [f"--dataset {self.name}"]
            if "data_dir" in self.settings:
                words.append(f"--data-dir {shlex.quote(str(self.settings['data_dir']))}")
        # The masks of other data sets are their own, by which a model is measured.
        if "masks" in self.settings and (self.is_own or not self.discovers):
            words.append(f"--masks {shlex.quote(str(self.settings['masks'] or NO_MASKS))}")
        return " ".join(words)

    def obtain(self) -> None:
        """Download the data set if it is not there and the user agrees.

        Raises:
            ConfigError: the user does not agree, or cannot be asked.
        """
        from keras_parts.data.archives import download_of

        download = download_of(self.name)
        if "data_dir" in self.settings or not download or download.source.is_found():
            return
        if download.missing() and not offline():
            self._agreed(download)
        folder = download.unpack(progress=self.progress)
        write_message(
            f"{self.name} is in {folder}. `keras-parts cache clear archives` removes the archives."
        )

    def _agreed(self, download: "Download") -> None:
        """Say what would be downloaded; raise ConfigError unless the user agrees."""
        write_message(download.describe())
        asked = is_answered(quiet=not self.progress)
        if self.yes or (asked and click.confirm("Download?", err=True)):
            return
        raise ConfigError(
            f"{self.name}: there is no folder {download.source.folder}, and nothing is downloaded "
            f"unless you agree: add --yes. {download.by_hand()}"
        )


def data_options(command):
    """Add PHOTOS, --dataset and the options of its reader; the command gets `data`, a
    `ChosenDataset`."""

    @click.argument("photos", required=False, type=click.Path())
    @click.option(
        "--dataset",
        metavar="NAME",
        shell_complete=complete_dataset,
        help="See `data list` [default: folder, if there are PHOTOS, --data-dir or --masks].",
    )
    @click.option("--data-dir", metavar="DIR", help="Folder of the data set.")
    @click.option(
        "--masks",
        metavar="DIR",
        help="Masks of your own photographs: a folder of masks named like the images, 'alpha' for "
        "the alpha channel of the images, or a COCO JSON file; or 'discover', for any data set: "
        "objects are found in the images, and no annotation is read; or 'none'.",
    )
    @click.option(
        "--skip-bad",
        is_flag=True,
        help="Read every image once, and leave out those with a problem.",
    )
    @click.option(
        "--data-option",
        "data_settings",
        multiple=True,
        metavar="NAME=VALUE",
        help="Another option of the reader, see `data info`; the value is JSON or a word.",
    )
    @click.option("--yes", is_flag=True, help="Download the data set if it is not there.")
    @functools.wraps(command)
    def run(photos, dataset, data_dir, masks, skip_bad, data_settings, yes, **options):
        dataset, data_dir = _dataset_and_folder(photos, dataset, data_dir, masks)
        settings = given(data_dir=data_dir, masks=masks, skip_bad=skip_bad or None)
        if masks == NO_MASKS:
            if dataset != _OWN:
                raise click.UsageError(f"--masks none: {dataset} has masks of its own")
            settings["masks"] = None
        settings |= _parsed(data_settings)
        chosen = ChosenDataset(dataset, settings, yes, progress=not options.get("quiet"))
        return command(data=chosen, **options)

    return run


def _dataset_and_folder(photos, dataset, data_dir, masks):
    """The data set and its folder, as PHOTOS, --dataset, --data-dir and --masks name them.

    Raises:
        UsageError: they contradict each other, or name no data.
    """
    if photos is not None:
        _check_photos(photos, dataset, data_dir)
        check_folder(photos)
        return _OWN, photos
    if data_dir is not None:
        check_folder(data_dir)
    command = click.get_current_context().command_path.partition(" ")[2]
    own = f"your own photographs, `keras-parts {command} photos/`"
    if dataset is None and data_dir is None:
        if masks is not None:
            raise click.UsageError(f"--masks {masks}: give also the folder of {own}")
        from keras_parts.data import DATASETS

        others = ", ".join(name for name in DATASETS if name not in (_OWN, _DRAWN))
        raise click.UsageError(
            f"which images? Give {own}, or a data set: `--dataset {_DRAWN}` for drawn animals, or "
            f"{others} (see `keras-parts data list`)"
        )
    return dataset or _OWN, data_dir


def _check_photos(photos, dataset, data_dir):
    """Raise UsageError if PHOTOS contradicts an option, or is the name of a data set."""
    from keras_parts.data import DATASETS

    if dataset not in (None, _OWN):
        raise click.UsageError(
            f"{photos} and --dataset {dataset} are two data sets: give only one. The folder of "
            f"{dataset} is --data-dir {photos}"
        )
    if data_dir is not None:
        raise click.UsageError(
            f"{photos} and --data-dir {data_dir} are two folders of photographs: give only one"
        )
    if photos in DATASETS and not os.path.exists(photos):
        raise click.UsageError(
            f"{photos}: there is no such folder; for the data set write --dataset {photos}"
        )


def check_folder(folder: str) -> None:
    """Raise UsageError unless this is a folder."""
    if os.path.isdir(folder):
        return
    if not os.path.lexists(folder):
        raise click.UsageError(f"{folder}: there is no such folder")
    above = os.path.join(os.path.dirname(folder) or os.curdir, "")
    raise click.UsageError(f"{folder} is a file, and a folder is needed: {above} perhaps")


DISCOVER, NO_MASKS = "discover", "none"
"""Values of --masks."""
_OWN, _DRAWN = "folder", "toy"
"""The data sets of the user's own photographs, and of drawn animals, which needs no files."""
_RESERVED = {
    "name": "use --dataset",
    "data_dir": "use --data-dir",
    "split": "the command or its --split chooses the split",
}


def _parsed(settings):
    """{name: value} of --data-option."""
    if not settings:
        return {}
    from keras_parts.training.recipes import parse_setting

    changes = dict(map(parse_setting, settings))
    for name, instead in _RESERVED.items():
        if name in changes:
            raise click.UsageError(f"--data-option {name}: {instead}")
    return changes


@click.group(cls=Group, epilog=examples("data list", "data info cub"))
def data():
    """List, prepare, check and show data sets; make masks."""


@data.command("list", epilog=examples("data list"))
@output_options
def list_datasets(quiet):
    """List the data sets and their annotations."""
    from keras_parts.data import DATASETS, about

    known = [about(name) for name in DATASETS]
    names = max(len(described.name) for described in known)
    annotations = max(len(described.annotations) for described in known)
    lines = [
        f"{described.name:<{names}}  {described.annotations:<{annotations}}  {described.title}"
        for described in known
    ]
    rows = [
        {"name": described.name, "title": described.title, "annotations": described.annotations}
        for described in known
    ]
    return CommandResult({"datasets": rows}, "\n".join(lines))


@data.command("info", epilog=examples("data info cub"))
@click.argument("name", shell_complete=complete_dataset)
@output_options
def info(name, quiet):
    """Describe a data set.

    Shows its annotations, splits and licence, how to obtain it, and the options of its reader.
    """
    from dataclasses import asdict

    from keras_parts.data import about

    described = about(name)
    sections = [
        described.title,
        described.description,
        f"Annotations: {described.annotations}",
        f"Splits: {', '.join(described.splits)}",
        f"Licence: {described.licence}",
        f"How to obtain it: {described.how_to_obtain}",
        f"Options (--data-option NAME=VALUE):\n{described.options}",
    ]
    return CommandResult(asdict(described), "\n\n".join(filter(None, sections)))


@data.command("check", epilog=examples("data check photos/ --masks masks/"))
@data_options
@click.option("--split", default="all", show_default=True, help="Split to check.")
@output_options
def check(data, split, quiet):
    """Read a data set, or the folder PHOTOS, and report all problems.

    Reads every sample; each problem names its file and line. The exit code is 3 if there are
    problems, 1 if no sample could be read. Classes that a partial copy lacks are noted, but are
    not problems; nor is what makes good parts unlikely, such as too few or too similar images.
    """
    from keras_parts.cli.group import FAILED, SOME_FAILED
    from keras_parts.data import about
    from keras_parts.data.check import check as check_dataset

    if split not in about(data.name).splits and split == "all":
        split = "train"
    data.obtain()
    report = check_dataset(data.name, split, progress=not quiet, **data.settings)
    content = {"dataset": data.name, "split": split, "samples": report.num_samples}
    content |= {"problems": list(report.problems), "notes": list(report.notes)}
    content["advice"] = list(report.advice)
    count = len(report.problems)
    found = "no problem" if not count else "1 problem" if count == 1 else f"{count} problems"
    read = f"{report.num_samples:,}"
    if report.num_sound < report.num_samples:
        read = f"{report.num_sound:,} of {read}"
    lines = [f"{data.name}, split {split}: {read} samples read, {found}."]
    code = 0 if not count else SOME_FAILED if report.num_samples else FAILED
    remarks = [*report.problems, *report.notes, *report.advice]
    return CommandResult(content, "\n".join([*remarks, *lines]), code)


@data.command("show", epilog=examples("data show --dataset toy --output toy.png"))
@data_options
@click.option("--split", default="train", show_default=True, help="Split to show.")
@click.option(
    "--count",
    default=16,
    show_default=True,
    type=click.IntRange(1),
    metavar="N",
    help="Maximum number of samples.",
)
@click.option("--output", "-o", required=True, metavar="FILE", help="Image file to write.")
@output_options
def show(data, split, count, output, quiet):
    """Draw samples of a data set, or of the folder PHOTOS, with their annotations.

    These are boxes, masks, part labels and keypoints.
    """
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


@data.command(
    "masks",
    epilog=examples(
        "data masks photos/ --output masks/",
        "data masks photos/ --output masks/ --method cub",
    ),
)
@click.argument("photos", type=click.Path())
@click.option("--output", "-o", required=True, metavar="DIR", help="Folder of the masks.")
@click.option(
    "--method",
    default=DISCOVER,
    show_default=True,
    metavar="METHOD",
    shell_complete=complete_model,
    help="discover; rembg (extra `rembg`), which downloads a network; or a segmenter, whose "
    "foreground is taken: a name of `zoo list`, a run folder, or an address.",
)
@looks_option
@trust_option
@click.option("--overwrite", is_flag=True, help="Make all masks anew that you have not changed.")
@common_options
def masks(
    photos: str,
    output: str,
    method: str,
    looks: Any,
    trust: bool,
    overwrite: bool,
    seed: int | None,
    quiet: bool,
) -> CommandResult:
    """Find the objects in the folder PHOTOS, and write a mask for each photograph.

    Without --method, objects are found by what all photographs have in common, as `train` does
    without masks. Objects that a training has found in the same photographs are not searched again.

    DIR/index.html shows the photographs with their masks, the least certain ones first, and
    DIR/masks.csv lists them. Paint a wrong mask anew in its file, white on black: masks that you
    made or corrected are kept. A later call makes only the masks that are missing. Photographs that
    cannot be read are reported, and the exit code is then 3.
    """
    from keras_parts.cli.group import SOME_FAILED
    from keras_parts.data.mask_folder import write_masks

    check_folder(photos)
    made_by = _mask_method(method, looks, seed=seed or 0, trust=trust, quiet=quiet)
    summary = write_masks(
        photos,
        output,
        made_by,
        overwrite=overwrite,
        progress=not quiet,
        on_failure=lambda failure: write_message(f"Failed: {failure}".replace("\n", "\\n")),
    )
    content = asdict(summary) | {"output": output, "method": made_by.origin}
    content["failures"] = [failure._asdict() for failure in summary.failures]
    code = SOME_FAILED if summary.failures else 0
    return CommandResult(content, _masks_text(summary, photos, output), code)


def _mask_method(method: str, looks: Any, *, seed: int, trust: bool, quiet: bool) -> "MaskMethod":
    from keras_parts.foreground import methods

    if method == methods.REMBG:
        return methods.by_rembg()
    if method != DISCOVER:
        check_model(method, trust=trust)
    import_keras()
    if method == DISCOVER:
        return methods.discovery(seed=seed, progress=not quiet)
    from keras_parts import zoo
    from keras_parts.models import create_predictor
    from keras_parts.models.saved_config import WEIGHTS_FILE

    say_loading(method, quiet=quiet)
    predictor = create_predictor(zoo.load(method, trust=trust), looks=looks, batch_size=1)
    weights = zoo.FileRecord.of(zoo.path(method, trust=trust) / WEIGHTS_FILE)
    return methods.by_segmenter(predictor, f"{model_name(method)} {weights.sha256[:12]}")


def _masks_text(summary: "MaskSummary", photos: str, output: str) -> str:
    """The sentences at the end."""
    kept = f", {summary.kept} were there before" if summary.kept else ""
    failed = f", {len(summary.failures)} failed" if summary.failures else ""
    lines = [
        f"Wrote {summary.written} masks of {summary.found} photographs to {output}{kept}{failed}."
    ]
    origins = (f"{count} {origin}" for origin, count in summary.origins.items())
    if len(summary.origins) > 1:
        lines.append(f"Where they come from: {', '.join(origins)}.")
    if summary.empty:
        one = summary.empty == 1
        lines.append(
            f"No object was found in {summary.empty} photograph{'' if one else 's'}: paint "
            f"{'its mask' if one else 'their masks'} if there is one, or leave "
            f"{'it' if one else 'them'} out with --skip-bad."
        )
    if summary.page:
        lines.append(f"To look at them, least certain first, open {summary.page} in a browser.")
        skip = " --skip-bad" if summary.empty or summary.failures else ""
        folders = f"{shlex.quote(photos)} --masks {shlex.quote(output)}"
        lines.append(f"Next:\n  keras-parts train {folders}{skip}")
    return "\n".join(lines)


@data.command("download", epilog=examples("data download cub"))
@click.argument("name", shell_complete=complete_dataset)
@output_options
def download(name, quiet):
    """Download a data set from its official address, verify it and unpack it.

    It goes to the folder `datasets` of the cache (KERAS_PARTS_HOME), where every command finds it.
    An interrupted download continues when the command is given again.
    """
    from keras_parts.cli.group import NOTHING_TO_DO
    from keras_parts.data import about
    from keras_parts.data.archives import download_of

    found = download_of(name)
    if not found:
        text = f"{name} has no download. How to obtain it: {about(name).how_to_obtain}"
        return CommandResult({"dataset": name, "output": None}, text, NOTHING_TO_DO)
    if not quiet and not found.source.is_found():
        write_message(found.describe())
    folder = found.unpack(progress=not quiet)
    text = f"{name} is in {folder}; read it with --dataset {name}"
    return CommandResult({"dataset": name, "output": str(folder)}, text)


@data.command(
    "prepare", epilog=examples("data prepare celebamask --data-dir CelebAMask-HQ --output faces/")
)
@click.argument("name", shell_complete=complete_dataset)
@click.option("--data-dir", metavar="DIR", help="Folder of the downloaded data.")
@click.option("--output", "-o", metavar="DIR", help="Folder of the prepared data.")
@output_options
def prepare(name, data_dir, output, quiet):
    """Convert a data set for faster reading.

    cub_parts: download the archives as `data download cub` does (or take them from --data-dir),
    verify and pack them.
    celebamask: convert the masks of each face to one label map. Other data sets need no
    preparation.
    """
    from keras_parts.cli.group import NOTHING_TO_DO
    from keras_parts.data import about
    from keras_parts.data.preparation import PREPARATIONS

    described = about(name)
    if name not in PREPARATIONS:
        text = f"{name} needs no preparation. How to obtain it: {described.how_to_obtain}"
        return CommandResult({"dataset": name, "samples": 0}, text, NOTHING_TO_DO)
    samples, folder = PREPARATIONS[name](data_dir, output, progress=not quiet)
    content = {"dataset": name, "output": str(folder), "samples": samples}
    text = f"{name}: {samples:,} samples; read them with --dataset {name} --data-dir {folder}"
    return CommandResult(content, text)
