"""Where the packaged data lies."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent

SUITE = PACKAGE / "suite" / "test_lora.py"

SUITE_NODE_ID = "pytest_yourai/suite/test_lora.py"
"""The packaged test's node id, the same from every folder."""


def matrices_folder() -> Path:
    """The matrices: inside the package in a wheel, beside it in an editable install."""
    packaged = PACKAGE / "matrices"
    return packaged if packaged.is_dir() else PACKAGE.parent / "matrices"


def packaged_models() -> Path:
    """The list of presets where the user names none."""
    return matrices_folder() / "models.yaml"
