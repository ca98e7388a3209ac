"""One table: our method and every baseline, on several data sets, by all protocols that apply.

    KERAS_BACKEND=tensorflow python benchmarks/parts.py --data-dir ~/datasets --output parts/

--data-dir contains CUB_200_2011, celebamask and clothing_co_parsing. Models are trained on the
train splits with the default recipe, by `keras-parts train`, unless their run folders exist:
--output/runs/{dataset}-k{K}-s{seed}. Every result is saved as JSON in --output and not measured
again, so that an interrupted run continues; delete the file to repeat a measurement. For our
method, a picture of 16 segmented test images is saved too. The table is --output/table.md.
--only-baselines trains nothing: it measures the baselines and the zoo's models, which fill the rows
of models that were not trained. --only-table measures nothing.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from keras_parts.data import load
from keras_parts.files import atomic_path, atomic_write
from keras_parts.metrics import (
    BASELINES,
    Runs,
    SegmenterModel,
    evaluate,
    teacher_features,
)
from keras_parts.results.pictures import contact_sheet
from keras_parts.training.recipes import parse_setting, recipe

SEEDS = {4: (0, 1, 2)}
"""K -> seeds of our method; the seed 0 for any other K."""
PARTS = {"cub": (4, 8, 16), "celebamask": (4, 8), "clothing_co_parsing": (4, 8)}
FOLDERS = {"cub": "CUB_200_2011"}
OURS = "ours"
ZOO = "zoo"
RELEASED = {
    ("cub", 4): "cub",
    ("cub", 8): "cub-8",
    ("cub", 16): "cub-16",
    ("celebamask", 4): "faces-4",
    ("celebamask", 8): "faces-8",
    ("clothing_co_parsing", 4): "clothing-4",
    ("clothing_co_parsing", 8): "clothing-8",
}
"""(data set, K) -> the zoo's model; its card contains its recipe."""
SHARPENED = {("cub", 8), ("cub", 16)}
"""Models that are trained again, for as many steps, with the teacher features of the upright image
alone: this sharpens borders on birds, except at K=4."""
UPRIGHT = "teacher_turns=[1,0,0,0]"
SETTINGS = {
    "clothing_co_parsing": (
        "centre_features=false",
        "prominence_exponent=0",
        'teacher_layers=["block_14"]',
        UPRIGHT,
        "teacher_size=449",
        "clusters.decay_steps=1000",
    )
}
"""Changes to the default recipe by data set, chosen on held-out training images. Clothing covers
the whole person: the mean features of an image tell kinds of clothing apart."""
PICTURED = 16
HEAD = """# Our method and every baseline, by all protocols

All values are in per cent, on the test splits. Brackets contain the 95 % interval of a bootstrap
over images. Methods with several runs (seeds 0, 1 and 2) show mean ± standard deviation. Protocols
with "given" take the data set's masks, those with "model" the model's own background; "masks"
compares this with the masks. Features "turned and mirrored" or "mirrored" are averaged over such
images, as our method learns from them; all others are of the upright image. Where our method was
not trained for this table, its row shows a model "of the zoo", whose card contains its recipe. The
table in docs/ was measured on the images that docs/results.md names. The command is

```sh
KERAS_BACKEND=tensorflow python benchmarks/parts.py --data-dir DATA --output parts/ --vit DINOV2
```
"""


class Row(NamedTuple):
    """A baseline and the features that it clusters."""

    baseline: str
    features: str | None = None


ROWS = {
    "kmeans-colour": Row("kmeans-colour"),
    "kmeans-position": Row("kmeans-position"),
    "slic": Row("slic"),
    "kmeans-features": Row("kmeans-features", "plain"),
    "nmf-features": Row("nmf-features", "plain"),
    "spectral-features": Row("spectral-features", "plain"),
    "kmeans-vit": Row("kmeans-features", "vit"),
    "spectral-vit": Row("spectral-features", "vit"),
    "kmeans-teacher": Row("kmeans-features", "teacher"),
}
"""Features: "plain" is one layer of the recipe's teacher; "teacher" are what our method learns from
on the data set, averaged over rotated and mirrored images; "vit" is --vit."""
PLAIN_LAYERS = ("block_14",)
"""The layer whose clusters agree best with landmarks of birds (block 10 is far behind)."""
VIT_SIZE = 224
COLUMNS = {
    "{start}-foreground": ("FG-NMI", "FG-ARI"),
    "{start}-full-given": ("NMI", "ARI"),
    "{start}-full-model": ("NMI", "ARI"),
    "{start}-landmarks-given": ("001", "002", "003", "all"),
    "{start}-landmarks-model": ("001", "002", "003", "all"),
    "masks": ("IoU", "median IoU", "IoU below 0.5", "boundary F"),
}
"""Protocol -> its metrics; {start} stands for "cub" or, on other data, "pixels"."""


def main():
    options = parse()
    options.output.mkdir(parents=True, exist_ok=True)
    for name in options.datasets:
        if not options.only_table:
            measure_dataset(name, options)
    table = markdown(options)
    with atomic_write(options.output / "table.md", "w") as file:
        file.write(table)
    print(table)


def parse():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--datasets", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--parts", nargs="+", type=int, help="K to measure; all by default")
    parser.add_argument("--methods", nargs="+", choices=[OURS, ZOO, *ROWS])
    parser.add_argument("--steps", type=int, default=recipe("default").steps)
    parser.add_argument("--vit", metavar="PRESET", help="a vision transformer, for rows with one")
    parser.add_argument("--only-baselines", action="store_true")
    parser.add_argument("--only-table", action="store_true")
    return parser.parse_args()


def measure_dataset(name, options):
    folder = options.data_dir / FOLDERS.get(name, name)
    train, test = load(name, "train", folder), load(name, "test", folder)
    features = Features(name, options.vit)
    for method in chosen_methods(options):
        for parts in options.parts or PARTS[name]:
            path = options.output / f"{name}-k{parts}-{method}.json"
            if path.exists() or (method == ZOO and (name, parts) not in RELEASED):
                continue
            if method == OURS:
                runs = measure_ours(name, folder, parts, train, test, options)
            elif method == ZOO:
                runs = measure_released(name, parts, train, test, options)
            else:
                runs = measure_baseline(ROWS[method], parts, train, test, features)
            with atomic_write(path, "w") as file:
                file.write(runs.with_intervals().to_json())
            print(runs.to_table(), flush=True)


def chosen_methods(options):
    for method in options.methods or [OURS, ZOO, *ROWS]:
        if method == OURS and options.only_baselines:
            continue
        if method in ROWS and ROWS[method].features == "vit" and not options.vit:
            continue
        yield method


def measure_ours(name, folder, parts, train, test, options):
    from keras_parts import zoo

    reports = []
    for seed in SEEDS.get(parts, (0,)):
        segmenter = zoo.load(trained_run(name, folder, parts, seed, options))
        model = SegmenterModel(segmenter)
        reports.append(measured(model, test, parts, train, "this project"))
        if len(reports) == 1:
            draw(segmenter, test, options.output / f"{name}-k{parts}-{OURS}.png")
    return Runs(tuple(reports))


def measure_released(name, parts, train, test, options):
    from keras_parts import zoo

    model = RELEASED[name, parts]
    segmenter = zoo.load(model)
    draw(segmenter, test, options.output / f"{name}-k{parts}-{ZOO}.png")
    maps = SegmenterModel(segmenter)
    return Runs((measured(maps, test, parts, train, f"this project, {model} of the zoo"),))


def trained_run(name, folder, parts, seed, options):
    """The run folder. A missing model is trained; an interrupted training is resumed."""
    run = options.output / "runs" / f"{name}-k{parts}-s{seed}"
    arguments = ["--dataset", name, "--data-dir", folder, "--parts", parts, "--seed", seed]
    arguments += ["--steps", options.steps]
    for setting in SETTINGS.get(name, ()):
        arguments += ["--set", setting]
    if (name, parts) not in SHARPENED:
        return train_once(run, arguments)
    if not trained(run):
        first = train_once(run.with_name(f"{run.name}-first"), arguments)
        train_once(run, [*arguments, "--init-from", first / "segmenter", "--set", UPRIGHT])
    return run


def train_once(run, arguments):
    if not trained(run):
        resume = ["--resume"] if run.exists() else []
        command = ["train", *arguments, "--output", run, *resume]
        subprocess.run([sys.executable, "-m", "keras_parts.cli", *map(str, command)], check=True)
    return run


def trained(run):
    return (run / "segmenter" / "segmenter.json").is_file()


def draw(segmenter, test, path):
    """Save a picture of test images, evenly spaced over the split, with their parts."""
    indices = [len(test) * number // PICTURED for number in range(min(PICTURED, len(test)))]
    parts = segmenter.segment([test[index].image for index in indices])
    with atomic_path(path) as unfinished:
        contact_sheet([one.overlay() for one in parts]).save(unfinished, "png")


def measure_baseline(row, parts, train, test, features):
    baseline = BASELINES[row.baseline]
    named = features(row.features) if row.features else None
    model = baseline(train, parts, seed=0, features=named and named.extract)
    title = baseline.title.format(features=named.name if named else "features")
    return Runs((measured(model, test, parts, train, title),))


def measured(model, test, parts, train, method):
    return evaluate(model, test, parts, train=train, split="test", method=method)


class Features:
    """The features of each kind that baselines cluster, computed when they are first used.

    Only one kind is cached at a time: features of all images take much memory.
    """

    def __init__(self, dataset, vit):
        self._dataset, self._vit = dataset, vit
        self._kind = self._features = None

    def __call__(self, kind):
        if kind != self._kind:
            self._features = None  # frees their memory before others are computed
            self._kind, self._features = kind, self._make(kind)
        return self._features

    def _make(self, kind):
        from keras_parts.discovery.teachers import create_teacher
        from keras_parts.training.build import build_teacher

        chosen, views = recipe("default"), ()
        if kind == "teacher":
            settings = SETTINGS.get(self._dataset, ())
            chosen = recipe("default", **dict(map(parse_setting, settings)))
            views = chosen.teacher_views
        image_size = chosen.teacher_size or chosen.image_size
        if kind == "vit":
            teacher, image_size = create_teacher("dinov2", weights=self._vit), VIT_SIZE
        elif kind == "teacher":
            teacher = build_teacher(chosen)
        else:
            teacher = create_teacher(chosen.teacher, PLAIN_LAYERS)
        return teacher_features(
            teacher, image_size, name=teacher.name.removeprefix("teacher_"),
            views=views, show_size=True, max_megabytes=1500,
        )  # fmt: skip


def markdown(options):
    lines = [HEAD]
    for name in options.datasets:
        for parts in PARTS[name]:
            lines += rows_of(name, parts, options.output)
    return "\n".join(lines) + "\n"


def measured_results(name, parts, output):
    """`{method: JSON of its results}` of the methods that were measured."""
    found = {}
    for method in (OURS, ZOO, *ROWS):
        path = output / f"{name}-k{parts}-{method}.json"
        if path.exists():
            found[method] = json.loads(path.read_text(encoding="utf-8"))
    if OURS in found:
        found.pop(ZOO, None)  # the same method in one row
    return found


def rows_of(name, parts, output):
    found = measured_results(name, parts, output)
    if not found:
        return []
    start = "cub" if name == "cub" else "pixels"
    columns = columns_of(found.values(), start)
    heads = [f"{protocol.removeprefix(start + '-')} {metric}" for protocol, metric in columns]
    first = next(iter(found.values()))
    lines = [f"### {name}, K={parts}, {first['samples']:,} test images", ""]
    for note in dict.fromkeys([*first["notes"], *left_out(found.values())]):
        lines += [note, ""]
    lines += ["| " + " | ".join(["method", *heads]) + " |", "|---" * (1 + len(heads)) + "|"]
    for content in found.values():
        cells = [cell(content["summary"].get(protocol, {}).get(m)) for protocol, m in columns]
        runs = len(content["runs"])
        title = content["method"] + (f" ({runs} runs)" if runs > 1 else "")
        lines.append("| " + " | ".join([title, *cells]) + " |")
    return [*lines, ""]


def columns_of(contents, start):
    """(protocol, metric) of each value that one of the methods has."""
    every = [
        (protocol.format(start=start), metric)
        for protocol, metrics in COLUMNS.items()
        for metric in metrics
    ]
    return [
        (protocol, metric)
        for protocol, metric in every
        if any(metric in content["summary"].get(protocol, {}) for content in contents)
    ]


def left_out(contents):
    """What the protocols left out, a sentence each."""
    for content in contents:
        for run in content["runs"]:
            for name, protocol in run["protocols"].items():
                yield from (f"{name}: {note}" for note in protocol.get("notes", ()))


def cell(found):
    """The text "mean ± deviation over runs [interval over images]"."""
    if found is None:
        return ""
    text = f"{found['mean']:.1f}"
    if found["std"] is not None:
        text += f" ± {found['std']:.1f}"
    if found["interval"]:
        text += f" [{found['interval'][0]:.1f}, {found['interval'][1]:.1f}]"
    return text


if __name__ == "__main__":
    main()
