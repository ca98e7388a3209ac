"""The type checker over the whole package: `python tests/check_types.py`, arguments go to mypy.

`zoo/` and `cli/` are installed as `keras_parts.zoo` and `keras_parts.cli`, which no type checker
sees in the source tree: links in a temporary folder show it the package as it is installed.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main():
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder, "keras_parts")
        package.mkdir()
        for source in [*(ROOT / "keras_parts").iterdir(), ROOT / "zoo", ROOT / "cli"]:
            (package / source.name).symlink_to(source, target_is_directory=source.is_dir())
        options = ["--config-file", ROOT / "pyproject.toml", "--cache-dir", ROOT / ".mypy_cache"]
        command = [sys.executable, "-m", "mypy", *options, *sys.argv[1:], "-p", "keras_parts"]
        environment = os.environ | {"MYPYPATH": folder}
        result = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True
        )
    found = result.stdout.replace("keras_parts/zoo/", "zoo/").replace("keras_parts/cli/", "cli/")
    print(found + result.stderr, end="")
    sys.exit(result.returncode)


if __name__ == "__main__":
    main()
