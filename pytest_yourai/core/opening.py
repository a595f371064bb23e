"""Opens files by name: regular ones alone, never waiting, and nothing that another user planted.

Whoever may write to a folder may put a link, a pipe or a second name of somebody's file there. So
may anyone in a shared temporary folder, before this program opens a name in it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

_MOST_LINKS = 40
"""As of the kernel, which calls more of them a loop."""

_MOST_BYTES = 1 << 28
"""Far more than any profile, journal or list of models has."""


def open_regular(path: Path, flags: int, mode: int = 0o666) -> int:
    """A descriptor of the regular file `path`, which need not exist if `flags` create it.

    A link of the user's own is followed. OSError, with a reason in words, for a link, a file or a
    further name of a file that another user put there, and for whatever is no regular file.
    """
    target = real_path(path)
    with contextlib.suppress(FileNotFoundError):
        _check_target(target, target.lstat())
    # Never O_TRUNC: what is opened is looked at first.
    return _open_checked(target, flags | os.O_NOFOLLOW, mode, _check_target)


def read_regular(path: Path, most_bytes: int = _MOST_BYTES) -> bytes:
    """The content of a file that the user named, whoever it belongs to.

    It may be a pipe that the shell has opened for this process, as of `<(git show …)`. OSError,
    with a reason in words, for whatever else is no regular file, and for one with more bytes.
    """
    _check_can_be_read(path, path.stat())
    return _read(_open_checked(path, os.O_RDONLY, 0, _check_can_be_read), most_bytes)


def read_own(path: Path) -> bytes:
    """The content of a file that this program has written; OSError as of `open_regular`."""
    return _read(open_regular(path, os.O_RDONLY), _MOST_BYTES)


def _open_checked(
    path: Path, flags: int, mode: int, check: Callable[[Path, os.stat_result], None]
) -> int:
    """Open without being kept waiting by a pipe or device, and `check` what was opened."""
    fd = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, mode)
    try:
        check(path, os.fstat(fd))
        os.set_blocking(fd, True)
    except OSError:
        os.close(fd)
        raise
    return fd


def _read(fd: int, most_bytes: int) -> bytes:
    with os.fdopen(fd, "rb") as file:
        # The size first: it may be all holes. It may also grow while it is read.
        size_bytes = os.fstat(fd).st_size
        content = b"" if size_bytes > most_bytes else file.read(most_bytes + 1)
    if max(size_bytes, len(content)) > most_bytes:
        raise OSError(errno.EFBIG, f"it has more than {most_bytes:,} bytes")
    return content


def displaced(fd: int, path: Path, written_bytes: int) -> str | None:
    """What happened to an open file, so long by now, that `path` named: None, or `was removed`."""
    own = os.fstat(fd)
    if own.st_nlink == 0:
        return "was removed"
    try:
        there = path.stat()
    except OSError:
        return "was moved"
    # Some network file systems have changing numbers; a copy stays as long as it was.
    if not os.path.samestat(own, there) and own.st_size != there.st_size:
        return "was moved, and another file has its name,"
    return "was cut" if own.st_size < written_bytes else None


def real_path(path: Path) -> Path:
    """`path` without links, those of missing files too.

    OSError for a loop, and for links that another user made: any in a folder that all may write to,
    the last one everywhere.
    """
    here, parts, links = Path(), list(reversed(path.absolute().parts)), 0
    while parts:
        name = parts.pop()
        if name == os.pardir:
            here = here.parent
            continue
        step = here / name
        try:
            found = step.lstat()
        except FileNotFoundError:
            return step.joinpath(*reversed(parts))
        if not stat.S_ISLNK(found.st_mode):
            here = step
            continue
        links += 1
        if links > _MOST_LINKS:
            raise OSError(errno.ELOOP, "its symbolic links form a loop")
        if found.st_uid not in _trusted() and (not parts or _is_planted(found, here.stat())):
            raise OSError(errno.EPERM, f"another user made the symbolic link {step}")
        parts += reversed(step.readlink().parts)
    return here


def own_folder(path: Path) -> Path:
    """The folder `path` without links, made if it is missing; OSError if it is another user's."""
    folder = real_path(path)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise OSError(errno.EPERM, f"{folder} is another user's")
    return folder


def _trusted() -> tuple[int, int]:
    """The user, and root, against whom there is no defence."""
    return os.geteuid(), 0


def _is_planted(found: os.stat_result, folder: os.stat_result) -> bool:
    """True if another user than that of `folder` made this, where all may write."""
    return _is_shared(folder) and found.st_uid not in (*_trusted(), folder.st_uid)


def _is_shared(folder: os.stat_result) -> bool:
    return bool(folder.st_mode & stat.S_IWOTH)


def _check_target(target: Path, found: os.stat_result) -> None:
    _check_is_regular(found)
    folder = target.parent.stat()
    if _is_planted(found, folder):
        raise OSError(errno.EPERM, "another user made it")
    if found.st_nlink > 1 and (_is_shared(folder) or folder.st_uid != os.geteuid()):
        raise OSError(errno.EPERM, "another user may have made it, as a hard link to another file")


_OWN_DESCRIPTORS = (Path("/dev/fd"), Path("/proc/self/fd"))


def _check_can_be_read(path: Path, found: os.stat_result) -> None:
    is_own = path == Path("/dev/stdin") or path.parent in _OWN_DESCRIPTORS
    if not (is_own and stat.S_ISFIFO(found.st_mode)):
        _check_is_regular(found)


def _check_is_regular(found: os.stat_result) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise OSError(errno.EISDIR, "it is a folder")
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file")
