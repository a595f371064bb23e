"""Models of the Hugging Face hub: looked up in the local cache, or downloaded into it.

huggingface_hub does both. It takes its settings (HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_TOKEN,
HF_HUB_OFFLINE) from the environment, and loads its parts when they are first used.
"""

from __future__ import annotations

import contextlib
import errno
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import huggingface_hub
from huggingface_hub import constants

from pytest_yourai.core.errors import UnavailableError
from pytest_yourai.core.known_failures import recognise
from pytest_yourai.core.paths import is_folder
from pytest_yourai.core.redaction import redactor
from pytest_yourai.core.sanitize import without_commands
from pytest_yourai.core.units import gigabytes
from pytest_yourai.models.folder import CONFIG, INDEX, WEIGHTS, missing_file

DOWNLOADED = (
    "*.json",
    WEIGHTS,
    "*.py",
    "tokenizer.model",
    "*.tiktoken",
    "tiktoken.model",
    "*.txt",
    "*.jsonl",
    "*.jinja",
)
"""Files of a repository that mlx-lm downloads: no pickled weights."""

_NEEDED = (CONFIG, INDEX, WEIGHTS)
"""Files of a complete snapshot. A tokenizer is optional: synthetic rows need none."""

_REPO_ID = re.compile(r"\b[\w.-]+\b/\b[\w.-]{1,96}\b", re.ASCII)
"""huggingface_hub's own form of it. It also refuses a few names, when they are looked up."""

_FULL_DISK = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A repository in the local cache. `missing` is a file that it lacks to be loaded."""

    folder: Path
    missing: str | None


def is_repo_id(name: str) -> bool:
    """True if `name` has the form of an `owner/name` of the hub."""
    return _REPO_ID.fullmatch(name) is not None


def cached_snapshot(repo: str) -> Snapshot | None:
    """The snapshot of `repo` in the local cache; None without one. Does not use the network.

    ModelError if its index of weights cannot be read.
    """
    if not is_folder(Path(constants.HF_HUB_CACHE)):
        return None
    from huggingface_hub import errors  # noqa: PLC0415 - it takes long

    try:
        folder = huggingface_hub.snapshot_download(
            repo, local_files_only=True, allow_patterns=list(_NEEDED)
        )
    except errors.IncompleteSnapshotError as problem:
        incomplete = Path(problem.snapshot_path)
        return Snapshot(incomplete, missing_file(incomplete) or WEIGHTS)
    except (errors.LocalEntryNotFoundError, errors.HFValidationError):
        return None
    return Snapshot(Path(folder), missing_file(Path(folder)))


def fetch_config(repo: str) -> Path:
    """The config.json of `repo`, downloaded alone; UnavailableError where it cannot be had."""
    with _explained(repo):
        _await_answer(repo)
        path = Path(huggingface_hub.snapshot_download(repo, allow_patterns=[CONFIG])) / CONFIG
    if not path.is_file():
        raise _incomplete(repo, CONFIG)
    return path


def download(repo: str, print_line: Callable[[str], None]) -> Path:
    """Download what is not cached yet of `repo`, and give its folder, which is complete then.

    `print_line` gets a line with size and target; huggingface_hub draws its bars on stderr. Files
    that are complete are kept whatever happens. UnavailableError, with its remedy, where the model
    is gated, missing, has no safetensors, is out of reach, or larger than the room on the disk.
    """
    with _explained(repo):
        _await_answer(repo)
        files = huggingface_hub.snapshot_download(
            repo, allow_patterns=list(DOWNLOADED), dry_run=True
        )
    _check_names(repo, [file.filename for file in files])
    for wanted in (CONFIG, WEIGHTS):
        if not any(fnmatch(file.filename, wanted) for file in files):
            raise _incomplete(repo, wanted)
    size_bytes = sum(file.file_size or 0 for file in files if file.will_download)
    _check_room(repo, size_bytes)
    print_line(f"Downloading {repo}: {gigabytes(size_bytes)} to {constants.HF_HUB_CACHE}")
    folder = _fetch_one_by_one(repo, files)
    if missing := missing_file(folder):
        raise _incomplete(repo, missing)
    return folder


def _check_names(repo: str, names: Iterable[str]) -> None:
    """UnavailableError for a name that commands a terminal: huggingface_hub prints them all."""
    for name in names:
        if not name.isprintable() or without_commands(name) != name:
            raise UnavailableError(
                f"{repo} has a file called {name!r}, which is not safe to print: name another model"
            )


def _fetch_one_by_one(repo: str, files: Iterable[huggingface_hub.DryRunFileInfo]) -> Path:
    """The folder of `files`, the smallest first: what lacks nothing large lacks nothing.

    In this thread: Ctrl-C does not end `snapshot_download`'s before their files are complete.
    """
    with _explained(repo):
        paths = {
            file.filename: huggingface_hub.hf_hub_download(
                repo, file.filename, revision=file.commit_hash
            )
            for file in sorted(files, key=lambda file: file.file_size or 0)
        }
    return Path(paths[CONFIG]).parent


def _await_answer(repo: str) -> None:
    """Raise what is wrong with the hub or with `repo`, in 10 seconds if nothing else is set.

    `snapshot_download` waits without a limit for the first thing that it asks.
    """
    huggingface_hub.HfApi().model_info(repo, timeout=constants.HF_HUB_ETAG_TIMEOUT)


def _check_room(repo: str, size_bytes: int) -> None:
    cache = Path(constants.HF_HUB_CACHE).absolute()
    place = next(folder for folder in (cache, *cache.parents) if is_folder(folder))
    free_bytes = shutil.disk_usage(place).free
    if size_bytes > free_bytes:
        raise UnavailableError(
            f"{repo} needs {gigabytes(size_bytes)}, and {gigabytes(free_bytes)} are free at "
            f"{cache}: make room there, or set HF_HOME to a folder on another disk"
        )


def _page(repo: str) -> str:
    return redactor()(f"{constants.ENDPOINT}/{repo}")


def _incomplete(repo: str, missing: str) -> UnavailableError:
    return UnavailableError(
        f"{_page(repo)} has no {missing}, and nothing else is downloaded in its place: name a "
        "repository that mlx-lm loads"
    )


@contextlib.contextmanager
def _explained(repo: str) -> Iterator[None]:
    """Raise UnavailableError, with its remedy, for whatever huggingface_hub raises."""
    try:
        yield
    except Exception as problem:
        raise _unavailable(repo, problem) from problem


def _unavailable(repo: str, problem: Exception) -> UnavailableError:
    """The sentence for what came out of huggingface_hub."""
    causes = list(_causes(problem))
    if any(isinstance(cause, OSError) and cause.errno in _FULL_DISK for cause in causes):
        why = (
            f"the disk is full: make room at {constants.HF_HUB_CACHE}, or set HF_HOME to a folder "
            "on another disk"
        )
    elif isinstance(problem, OSError) and problem.filename is not None:
        why = (
            f"{problem.filename}: {problem.strerror}: make it a folder that can be written to, or "
            "set HF_HOME to one"
        )
    else:
        # The innermost first: what is raised over it says less of the reason.
        found = (known for cause in reversed(causes) if (known := recognise(_line(cause))))
        known = next(found, None)
        why = (
            f"{known.what}: {known.remedy}"
            if known
            else f"{_line(problem)}; run it again, or name a folder"
        )
    return UnavailableError(redactor()(f"{_page(repo)} cannot be downloaded: {why}"))


def _causes(problem: BaseException | None) -> Iterator[BaseException]:
    while problem is not None:
        yield problem
        problem = problem.__cause__ or problem.__context__


def _line(problem: BaseException) -> str:
    """With the module's name: some libraries' exceptions are called `ReadError`."""
    kind = type(problem)
    first = (str(problem).strip().splitlines() or [""])[0]
    return f"{kind.__module__}.{kind.__qualname__}: {first}"
