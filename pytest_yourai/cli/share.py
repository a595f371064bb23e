"""`yourai share`: a profile as a file for others, which has nothing private."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pytest_yourai.cli.parser import print_error
from pytest_yourai.core.errors import OptionError, RecordingError
from pytest_yourai.core.keeping import write_new
from pytest_yourai.core.paths import is_folder, packaged_models
from pytest_yourai.core.sanitize import json_text
from pytest_yourai.models.presets import read_presets
from pytest_yourai.report.safe_stream import close_stream, print_lines
from pytest_yourai.report.sharing_text import file_name, text, title
from pytest_yourai.store.profile_reader import parse_written, read_profiles
from pytest_yourai.store.shared.bounds import bounds_of
from pytest_yourai.store.shared.checks import faults_of
from pytest_yourai.store.shared.sharing import shared_document
from pytest_yourai.store.stored_profile import StoredProfile

_OUTPUT = "--output"

_FAULTY_STATUS = 1


def share(given: argparse.Namespace) -> int:
    """Write a file for each model of the profile; 1 if one would not pass `yourai check`."""
    profiles = read_profiles(given.profile)
    if given.output is not None and len(profiles) > 1:
        raise OptionError(f"{_OUTPUT}: {given.profile} has several models: leave it out")
    are_right = [_share(each, given.output) for each in profiles]
    close_stream(sys.stdout)
    return 0 if all(are_right) else _FAULTY_STATUS


def _refuse_folder(profile: StoredProfile) -> None:
    """RecordingError for a model that is a folder here: `me/mine` may be the name of one."""
    model = profile.settings.model
    if model is not None and is_folder(Path(model)):
        raise RecordingError(
            f"{profile.name}: settings.model: {model} is a folder here, which nobody else has: "
            "share a sweep of a packaged preset, or of a repository"
        )


def _share(profile: StoredProfile, output: Path | None) -> bool:
    _refuse_folder(profile)
    document = shared_document(profile, read_presets(packaged_models()))
    if faults := faults_of(document, bounds_of):
        for each in faults:
            print_error("yourai share", f"not shared: {profile.name}: {profile.model}: {each}")
        return False
    # Told from the file: what it does not have is not in the text either.
    [shared] = parse_written(document, profile.name)
    path = output or Path(file_name(shared, document))
    write_new(path, f"{json_text(document, indent=2)}\n", _OUTPUT)
    print_lines(
        sys.stdout,
        f"Written: {path}",
        "Nothing was uploaded. To share it, add it to a pull request with this title and text:",
        "",
        title(shared),
        "",
        *text(shared, document),
        "",
    )
    return True
