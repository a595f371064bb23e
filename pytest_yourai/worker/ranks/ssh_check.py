"""Whether the hosts of a group answer, and have what a rank needs, before mlx.launch is started.

mlx.launch keeps what ssh says to itself.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from pytest_yourai.core.errors import ConnectError
from pytest_yourai.core.hosts import HostGroup

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
    if not elsewhere:
        return
    with ThreadPoolExecutor(len(elsewhere)) as pool:
        for why in pool.map(_why_not, elsewhere):
            if why is not None:
                raise ConnectError(why)


def _why_not(name: str) -> str | None:
    probe = shlex.join([sys.executable, "-P", "-c", _PROBE])
    command = ["ssh", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={_CONNECT_TIMEOUT_S}"]
    try:
        done = subprocess.run(
            [*command, name, probe],
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=_TIMEOUT_S,
        )
    except OSError as problem:
        return f"ssh cannot be started ({problem}): install it, as mlx.launch needs it"
    except subprocess.TimeoutExpired:
        return f"host {name} did not answer ssh within {_TIMEOUT_S:g} s: check that it is awake"
    return explain(name, done.returncode, done.stdout, done.stderr)


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
