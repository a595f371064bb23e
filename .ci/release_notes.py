"""Print what CHANGELOG.md says of a version; fail where it says nothing.

release_notes.py VERSION
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

CHANGELOG = Path(__file__).resolve().parents[1] / "CHANGELOG.md"


def main(version: str) -> None:
    heading = re.compile(rf"^## \[?{re.escape(version)}\b.*\n", re.MULTILINE)
    text = CHANGELOG.read_text(encoding="utf-8")
    if (found := heading.search(text)) is None:
        sys.exit(f"CHANGELOG.md has no section {version}: run towncrier build --version {version}")
    print(text[found.end() :].partition("\n## ")[0].strip())


if __name__ == "__main__":
    main(sys.argv[1])
