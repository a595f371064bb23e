"""Build the wheel and the sdist into a folder; fail where they lack something or vary.

build.py FOLDER
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "pytest_yourai"


def main(folder: Path) -> None:
    for earlier in folder.glob(f"{PACKAGE}-*"):
        earlier.unlink()
    # The wheel is built from the sdist here, and again from the checkout.
    _build(folder)
    with tempfile.TemporaryDirectory() as again:
        os.umask(0o077)
        _build(Path(again), "--sdist", "--wheel")
        built = sorted(each for each in Path(again).iterdir() if each.suffix in {".whl", ".gz"})
        for each in built:
            _show(folder / each.name)
        if varied := [each.name for each in built if _bytes_differ(each, folder / each.name)]:
            sys.exit(f"Built again, {' and '.join(varied)} has other bytes")
    [wheel] = (each for each in built if each.suffix == ".whl")
    if lacking := _lacking(folder / wheel.name):
        sys.exit("The wheel lacks:\n  " + "\n  ".join(lacking))


def _build(folder: Path, *what: str) -> None:
    command = ["uv", "build", "--quiet", "--python", sys.executable, *what]
    subprocess.run([*command, "--out-dir", str(folder), str(ROOT)], check=True)


def _show(path: Path) -> None:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    print(f"{path.stat().st_size / 1e6:.2f} MB  {digest}  {path.name}")


def _bytes_differ(one: Path, other: Path) -> bool:
    return one.read_bytes() != other.read_bytes()


def _lacking(wheel: Path) -> list[str]:
    """The files of the package that the wheel does not have."""
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
    files = (each for each in (ROOT / PACKAGE).rglob("*") if each.is_file())
    wanted = {str(each.relative_to(ROOT)) for each in files if each.suffix != ".pyc"}
    return sorted(wanted - names)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
