"""Where the packaged data lies, and what a path means that a user wrote."""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent

SUITE = PACKAGE / "suite" / "test_lora.py"

SOAK_SUITE = PACKAGE / "suite" / "test_soak.py"

SUITE_NODE_IDS = {
    SUITE: "pytest_yourai/suite/test_lora.py",
    SOAK_SUITE: "pytest_yourai/suite/test_soak.py",
}
"""The packaged tests' node ids, the same from every folder."""


def matrices_folder() -> Path:
    """The matrices: inside the package in a wheel, beside it in an editable install."""
    packaged = PACKAGE / "matrices"
    return packaged if packaged.is_dir() else PACKAGE.parent / "matrices"


def packaged_models() -> Path:
    """The list of presets where the user names none."""
    return matrices_folder() / "models.yaml"


def given_path(text: str, folder: Path) -> Path:
    """`text` as seen from `folder`; `~` is the home, and stays as it is where nobody lives."""
    return folder / os.path.expanduser(text)  # noqa: PTH111 - Path's own raises then


def is_folder(path: Path) -> bool:
    """Whether it is one that can be looked at; not where its name is too long, or it is locked."""
    try:
        return path.is_dir()
    except OSError:
        return False
