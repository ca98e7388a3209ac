"""Prepare a release: write the version, build, and try the wheel. RELEASING.md has the rest.

python scripts/release.py 0.2.0
"""

import argparse
import datetime
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
URL = "https://github.com/keras-parts/keras-parts"
TRIAL = """
import sys
import keras_parts
from keras_parts import data
assert keras_parts.__version__ == sys.argv[1], keras_parts.__version__
parts = keras_parts.zoo.load("toy").segment(data.load("toy", "test", count=1)[0].image)
assert len(parts.names) == 5
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("version", help="MAJOR.MINOR.PATCH")
    parser.add_argument("--skip-trial", action="store_true", help="do not install the wheel")
    arguments = parser.parse_args()
    if run("git", "status", "--porcelain", capture_output=True).stdout:
        sys.exit("release: there are changes that are not committed")
    today = datetime.date.today().isoformat()
    for name, change in CHANGES.items():
        path = ROOT / name
        text = path.read_text(encoding="utf-8")
        path.write_text(change(text, arguments.version, today), encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        run(sys.executable, "-m", "build", "--outdir", "dist", ".")
        if not arguments.skip_trial:
            try_wheel(arguments.version, Path(folder))
    version = arguments.version
    print(
        f"\nVersion {version} is built in dist/. Look at `git diff`, then:\n"
        f'git commit -am "Version {version}" && git tag -a v{version} -m "Version {version}"\n'
        f"git push origin main v{version}"
    )


def version_of(text):
    """The version that keras_parts/__init__.py states."""
    return re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)[1]


def change_package(text, version, date):
    """keras_parts/__init__.py with the new version, which must be later than the old one."""
    numbers = [
        tuple(map(int, one.split(".")))
        for one in (version_of(text), version)
        if re.fullmatch(r"\d+\.\d+\.\d+", one)
    ]
    if len(numbers) != 2 or not numbers[0] < numbers[1]:
        sys.exit(f"release: {version} is no version after {version_of(text)}")
    return text.replace(f'"{version_of(text)}"', f'"{version}"', 1)


def change_citation(text, version, date):
    """CITATION.cff with the version and the date of the release."""
    text = re.sub(r"^date-released: .*\n", "", text, flags=re.MULTILINE)
    replacement = f'version: {version}\ndate-released: "{date}"'
    return re.sub(r"^version: .*$", replacement, text, flags=re.MULTILINE)


def change_changelog(text, version, date):
    """CHANGELOG.md with the unreleased changes under the version, and links to compare."""
    unreleased = re.search(r"## \[Unreleased\]\n(.*?)(?=\n## \[)", text, re.DOTALL)
    if unreleased is None or not unreleased[1].strip():
        sys.exit("release: CHANGELOG.md has nothing under Unreleased")
    last = re.search(r"## \[(\d[^]]*)\]", text)[1]
    text = text.replace("## [Unreleased]\n", f"## [Unreleased]\n\n## [{version}] - {date}\n", 1)
    return re.sub(
        r"^\[Unreleased\]: .*$",
        f"[Unreleased]: {URL}/compare/v{version}...HEAD\n"
        f"[{version}]: {URL}/compare/v{last}...v{version}",
        text,
        flags=re.MULTILINE,
    )


CHANGES = {
    "keras_parts/__init__.py": change_package,
    "CITATION.cff": change_citation,
    "CHANGELOG.md": change_changelog,
}
"""File -> (text, version, date) -> its text in the release."""


def try_wheel(version, folder):
    """Install the wheel into a fresh environment and segment an image there."""
    (wheel,) = (ROOT / "dist").glob(f"keras_parts-{version}-*.whl")
    python = folder / "venv" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    run(sys.executable, "-m", "venv", str(folder / "venv"))
    run(str(python), "-m", "pip", "install", "--quiet", f"{wheel}[tensorflow]")
    run(str(python), "-I", "-c", TRIAL, version, cwd=folder)


def run(*command, cwd=ROOT, **options):
    """Run a command; the script ends with its message where it fails."""
    return subprocess.run(command, cwd=cwd, check=True, text=True, **options)


if __name__ == "__main__":
    main()
