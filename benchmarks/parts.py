"""One table: our method and every baseline, on several data sets, by all protocols that apply.

    KERAS_BACKEND=tensorflow python benchmarks/parts.py --data-dir ~/datasets --output parts/

Below --data-dir lie CUB_200_2011, celebamask and clothing_co_parsing. Models are trained on the
train splits with the default recipe, by `keras-parts train`, unless their run folders are there
already; every result is kept as JSON in --output, and what is there is not measured again, so that
an interrupted run goes on. The table is written to --output/table.md; --only-baselines trains
nothing, --only-table measures nothing.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from keras_parts.data import load
from keras_parts.metrics import BASELINES, PROTOCOLS, Runs, evaluate, remembered, teacher_features
from keras_parts.training.recipes import recipe

SEEDS = {4: (0, 1, 2)}
"""K -> seeds of our method; one elsewhere."""
PARTS = {"cub": (4, 8, 16), "celebamask": (4, 8), "clothing_co_parsing": (4, 8)}
FOLDERS = {"cub": "CUB_200_2011"}
LAYERS = ("block_14",)
"""Of the recipe's teacher, for baselines: the layer whose clusters agree best with keypoints of
birds (k-means; block 10 is far behind). Plain features: nothing is averaged over mirror images."""
COLUMNS = {
    "foreground": ("FG-NMI", "FG-ARI"),
    "full-given": ("NMI", "ARI"),
    "full-model": ("NMI", "ARI"),
    "landmarks-given": ("001", "002", "003", "all"),
    "landmarks-model": ("001", "002", "003", "all"),
}


def main():
    options = parse()
    options.output.mkdir(parents=True, exist_ok=True)
    for name in options.datasets:
        if not options.only_table:
            measure_dataset(name, options)
    table = markdown(options)
    (options.output / "table.md").write_text(table, encoding="utf-8")
    print(table)


def parse():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--datasets", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--parts", nargs="+", type=int, help="K to measure; all by default")
    parser.add_argument("--methods", nargs="+", choices=["ours", *BASELINES])
    parser.add_argument("--steps", type=int, default=recipe("default").steps)
    parser.add_argument("--protocols", nargs="+", help="by default all that apply")
    parser.add_argument("--vit", metavar="PRESET", help="vision transformer of spectral clustering")
    parser.add_argument("--only-baselines", action="store_true")
    parser.add_argument("--only-table", action="store_true")
    return parser.parse_args()


def measure_dataset(name, options):
    folder = options.data_dir / FOLDERS.get(name, name)
    train, test = load(name, "train", folder), load(name, "test", folder)
    features = {}
    for parts in options.parts or PARTS[name]:
        for method in options.methods or ["ours", *BASELINES]:
            path = options.output / f"{name}-k{parts}-{method}.json"
            if path.exists() or (method == "ours" and options.only_baselines):
                continue
            if method == "ours":
                runs = measure_ours(name, folder, parts, train, test, options)
            else:
                runs = measure_baseline(method, parts, train, test, features, options)
            path.write_text(runs.with_intervals().to_json(), encoding="utf-8")
            print(runs.to_table(), flush=True)


def measure_ours(name, folder, parts, train, test, options):
    from keras_parts import zoo

    reports = []
    for seed in SEEDS.get(parts, (0,)):
        run = options.output / "runs" / f"{name}-k{parts}-s{seed}"
        if not (run / "segmenter").is_dir():
            arguments = ["train", "--dataset", name, "--data-dir", folder, "--parts", parts]
            arguments += ["--seed", seed, "--steps", options.steps, "--output", run]
            arguments += ["--resume"] if run.exists() else []
            command = [sys.executable, "-m", "keras_parts.cli", *map(str, arguments)]
            subprocess.run(command, check=True)
        segmenter = zoo.load(run)
        reports.append(score(segmenter.maps, parts, train, test, options, "ours"))
    return Runs(tuple(reports))


def measure_baseline(method, parts, train, test, features, options):
    baseline = BASELINES[method]
    embed, title = None, baseline.title
    if baseline.on_features:
        teacher = "dinov2" if options.vit and method.startswith("spectral") else None
        if teacher not in features:
            features[teacher] = make_features(teacher, options)
        embed, words = features[teacher]
        title = title.format(features=words)
    maps = baseline(train, parts, seed=0, features=embed)
    return Runs((score(maps, parts, train, test, options, title),))


def score(maps, parts, train, test, options, method):
    protocols = options.protocols
    if protocols:
        protocols = [one for one in protocols if not PROTOCOLS[one].missing(maps, test, train)]
    return evaluate(maps, test, parts, protocols, train, method=method)


def make_features(teacher, options):
    """(features, what to call them)."""
    from keras_parts.teachers import create_teacher

    if teacher is None:
        chosen = recipe("default")
        network = create_teacher(chosen.teacher, LAYERS)
        size = chosen.teacher_size
    else:
        network, size = create_teacher(teacher, weights=options.vit), 224
    words = f"{network.name.removeprefix('teacher_')} {'+'.join(network.layer_names)}"
    return remembered(teacher_features(network, size), megabytes=1500), words


def markdown(options):
    lines = []
    for name in options.datasets:
        for parts in PARTS[name]:
            lines += rows_of(name, parts, options.output)
    return "\n".join(lines) + "\n"


def rows_of(name, parts, output):
    found = {}
    for method in ("ours", *BASELINES):
        path = output / f"{name}-k{parts}-{method}.json"
        if path.exists():
            found[method] = json.loads(path.read_text(encoding="utf-8"))
    if not found:
        return []
    start = "cub" if name == "cub" else "pixels"
    columns = [
        (f"{start}-{kind}", metric)
        for kind, metrics in COLUMNS.items()
        for metric in metrics
        if any(
            metric in content["summary"].get(f"{start}-{kind}", {}) for content in found.values()
        )
    ]
    heads = [f"{protocol.removeprefix(start + '-')} {metric}" for protocol, metric in columns]
    samples = next(iter(found.values()))["samples"]
    lines = [f"### {name}, K={parts}, {samples:,} test images", ""]
    lines += ["| " + " | ".join(["method", *heads]) + " |", "|---" * (1 + len(heads)) + "|"]
    for content in found.values():
        cells = [cell(content["summary"].get(protocol, {}).get(m)) for protocol, m in columns]
        runs = len(content["runs"])
        title = content["method"] + (f" ({runs} runs)" if runs > 1 else "")
        lines.append("| " + " | ".join([title, *cells]) + " |")
    return [*lines, ""]


def cell(found):
    """Mean, deviation over runs, interval over images."""
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
