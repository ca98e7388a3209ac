"""List the tests that were skipped, and fail if a reason is not one of hardware or system.

    python tests/skips.py FILE [--without-data]

FILE is the one that KERAS_PARTS_TEST_SKIPS named while the tests ran.
"""

import argparse
import re
import sys
from collections import Counter
from pathlib import Path

ALLOWED = (
    r"GPU|devices? of this machine",
    r"Windows|this system|this Pillow|forkserver|privilege|root",
    r"^Not a test\.$",  # a method that TensorFlow's test case has beside the tests
)
"""Patterns of reasons that lie in the machine, not in a package that is not installed."""
WITHOUT_DATA = r"^no real (data|weights): set KERAS_PARTS_TEST"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--without-data", action="store_true", help="allow missing shared data")
    arguments = parser.parse_args()
    lines = arguments.file.read_text("utf-8").splitlines() if arguments.file.exists() else []
    skipped = [line.split("\t", 2) for line in lines]
    allowed = "|".join((*ALLOWED, *([WITHOUT_DATA] if arguments.without_data else [])))
    unexpected = [each for each in skipped if not re.search(allowed, each[2])]
    print(f"{len(skipped)} tests were skipped:")
    for (backend, reason), count in sorted(Counter((b, r) for b, _, r in skipped).items()):
        print(f"  {count} on {backend}: {reason}")
    for backend, test, reason in unexpected:
        print(f"not a reason to skip: {test} on {backend}: {reason}")
    sys.exit(bool(unexpected))


if __name__ == "__main__":
    main()
