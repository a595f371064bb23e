"""Whether the hosts of a group answer, and have what a rank needs, before mlx.launch is started.

mlx.launch keeps what ssh says to itself.
"""

from __future__ import annotations

import contextlib
import shlex
import subprocess
import sys
from collections.abc import Iterator

from pytest_yourai.core.errors import ConnectError
from pytest_yourai.core.hosts import HostGroup
from pytest_yourai.worker.conversation import TimeLimit

_TIMEOUT_S = 20.0

_CONNECT_TIMEOUT_S = 5

_SSH_FAILED, _NO_SUCH_FILE = 255, 127

_LACKING = 3

_PROBE = (
    "import importlib.util, sys; "
    "lacking = [each for each in ('mlx', 'mlx_lm', 'pytest_yourai') "
    "if importlib.util.find_spec(each) is None]; "
    f"print(*lacking); sys.exit({_LACKING} if lacking else 0)"
)


def check_hosts(group: HostGroup) -> None:
    """ConnectError for the first host that does not answer, or lacks what a rank needs."""
    names = dict.fromkeys(host.ssh for host in group.hosts)
    elsewhere = [name for name in names if not group.is_here and name != "127.0.0.1"]
    limit = TimeLimit(_TIMEOUT_S)
    with contextlib.ExitStack() as stack:
        asked = [(name, stack.enter_context(_asked(name))) for name in elsewhere]
        for name, ssh in asked:
            if (why := _why_not(name, ssh, limit)) is not None:
                raise ConnectError(why)


@contextlib.contextmanager
def _asked(name: str) -> Iterator[subprocess.Popen[str]]:
    """The ssh that asks a host; it has ended afterwards. ConnectError where there is none."""
    probe = shlex.join([sys.executable, "-P", "-c", _PROBE])
    command = ["ssh", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={_CONNECT_TIMEOUT_S}"]
    try:
        ssh = subprocess.Popen(
            [*command, name, probe],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
    except OSError as problem:
        raise ConnectError(
            f"ssh cannot be started ({problem}): install it, as mlx.launch needs it"
        ) from None
    with ssh:
        try:
            yield ssh
        finally:
            ssh.kill()
            ssh.wait()


def _why_not(name: str, ssh: subprocess.Popen[str], limit: TimeLimit) -> str | None:
    try:
        stdout, stderr = ssh.communicate(timeout=limit.left_s)
    except subprocess.TimeoutExpired:
        return f"host {name} did not answer ssh within {_TIMEOUT_S:g} s: check that it is awake"
    return explain(name, ssh.returncode, stdout, stderr)


def explain(name: str, status: int, stdout: str, stderr: str) -> str | None:
    """What is wrong with the host by what ssh and the probe gave; None where all is well."""
    if status == 0:
        return None
    last = (stderr.strip().splitlines() or ["it printed nothing"])[-1]
    if status == _SSH_FAILED:
        return (
            f"host {name} cannot be reached by ssh without a password ({last}): check that "
            f"ssh {name} true works"
        )
    if status == _NO_SUCH_FILE:
        return (
            f"host {name} has no {sys.executable}: make the same environment at the same path there"
        )
    if status == _LACKING:
        return (
            f"host {name} lacks {', '.join(stdout.split())} for {sys.executable}: install it there"
        )
    return f"host {name} cannot run {sys.executable} ({last}): check it there"
