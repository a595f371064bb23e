"""Reports to services such as wandb: one for a run, however many processes train it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path

from pytest_yourai.training.files import REPORT_ID

_ID_CHARACTERS = 21
"""As many as swanlab takes."""


def one_report(folder: Path, environment: Mapping[str, str], *, is_new: bool) -> dict[str, str]:
    """Environment variables under which wandb and swanlab go on with a run that they know.

    Its id is kept in `folder`, for those who resume it. What `environment` has already stays.
    """
    path = folder / REPORT_ID
    if is_new or not path.is_file():
        path.write_text(uuid.uuid4().hex[:_ID_CHARACTERS], encoding="ascii")
    run_id = path.read_text(encoding="ascii").strip()
    wanted = {
        f"{service}_{name}": value
        for service in ("WANDB", "SWANLAB")
        for name, value in (("RUN_ID", run_id), ("RESUME", "allow"))
    }
    return {name: value for name, value in wanted.items() if name not in environment}
