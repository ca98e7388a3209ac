"""Resolve every extra for every supported Python and platform, without installing anything.

An extra fails if a package has no wheel there, or if two packages with the same files are chosen,
such as keras and keras-nightly. Failures that are known are listed with their reasons. Needs uv and
the package index.

    python scripts/check_extras.py
    python scripts/check_extras.py --extra all --python 3.14
"""

import argparse
import re
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PLATFORMS = {
    "Linux x86-64": "x86_64-manylinux_2_28",
    "Linux arm64": "aarch64-manylinux_2_39",
    "macOS arm64": "aarch64-apple-darwin",
    "Windows x86-64": "x86_64-pc-windows-msvc",
}
SAME_FILES = (
    {"tensorflow", "tensorflow-cpu", "tf-nightly"},
    {"keras", "keras-nightly"},
    {"opencv-python", "opencv-python-headless", "opencv-contrib-python"},
    {"onnxruntime", "onnxruntime-gpu"},
)
"""Packages of which one environment can have one."""
FROM_SOURCE = ("promise",)
"""Pure Python packages that have no wheel."""
_TENSORFLOW = "TensorFlow has no release for Python 3.14 that takes Keras' releases"
_TEXT = "KerasHub needs tensorflow-text there, which has no wheel for Python 3.14"
KNOWN = {
    **{(name, None, "3.14"): _TENSORFLOW for name in ("tensorflow", "tensorflow-gpu", "dev")},
    **{("hub", name, "3.14"): _TEXT for name in PLATFORMS if not name.startswith("Windows")},
}
"""(extra, platform or None for all, Python) -> why it cannot be installed there."""


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--extra", action="append", help="repeatable; all by default")
    parser.add_argument("--python", action="append", choices=PYTHONS, help="as --extra")
    parser.add_argument("--platform", action="append", choices=PLATFORMS, help="as --extra")
    options = parser.parse_args()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = options.extra or [*project["optional-dependencies"]]
    cases = [*product(extras, options.platform or PLATFORMS, options.python or PYTHONS)]
    unexpected = 0
    with ThreadPoolExecutor(2) as pool:
        problems = pool.map(lambda case: problem(*resolve(*case)), cases)
        for (extra, platform, python), found in zip(cases, problems, strict=True):
            reason = KNOWN.get((extra, platform, python)) or KNOWN.get((extra, None, python))
            unexpected += bool(found) != bool(reason)
            state = f"known: {reason}" if found and reason else found
            state = state or ("known, but it resolves" if reason else "resolves")
            print(f"{extra}, {platform}, Python {python}: {state}", flush=True)
    print(f"{len(cases)} cases, {unexpected} unexpected")
    return 1 if unexpected else 0


def resolve(extra, platform, python):
    """(the packages that are chosen, one a line; the error or "")."""
    command = [
        "uv", "pip", "compile", "pyproject.toml", "--extra", extra, "--quiet", "--no-header",
        "--no-annotate", "--python-platform", PLATFORMS[platform], "--python-version", python,
        "--only-binary", ":all:",
    ]  # fmt: skip
    for name in FROM_SOURCE:
        command += ["--no-binary", name]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return result.stdout, result.stderr if result.returncode else ""


def problem(chosen, error):
    """What is wrong with a resolution, in a line; "" if nothing is.

    >>> problem("keras==3.15.1\\nkeras-nightly==3.16.0.dev1\\n", "")
    'keras and keras-nightly have the same files'
    """
    if error:
        return " ".join(error.split())[:300]
    names = set(re.findall(r"^([a-z0-9-]+)==", chosen, re.MULTILINE))
    clashes = [
        " and ".join(sorted(group & names)) for group in SAME_FILES if len(group & names) > 1
    ]
    return f"{'; '.join(clashes)} have the same files" if clashes else ""


if __name__ == "__main__":
    sys.exit(main())
