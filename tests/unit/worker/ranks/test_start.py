import pytest

from pytest_yourai.core.errors import (
    PeerLostError,
    RankDiedError,
    WorkerError,
    WorkerFailedError,
)
from pytest_yourai.core.hosts import DistributedBackend, HostGroup
from pytest_yourai.worker.ranks.start import telling_line, why_not_joined

GROUP = HostGroup.here(2, DistributedBackend.RING)


@pytest.mark.parametrize(
    ("problem", "why"),
    [
        (RankDiedError(-9, "rank 1 (b)"), "rank 1 (b) was lost while the ranks joined"),
        (PeerLostError("rank 1 (b) was stopped"), "a rank was lost while the ranks joined (rank 1"),
        (
            WorkerFailedError(
                "RuntimeError: [ring] Couldn't bind socket (error: 98)", "", loss_is_invalid=False
            ),
            "a port of the ring is taken on a host (RuntimeError",
        ),
        (
            WorkerError("the worker gave no answer for 60 s"),
            "the ranks did not reach each other by ring (the worker gave no answer for 60 s)",
        ),
    ],
)
def test_what_keeps_ranks_from_joining_has_its_remedy(problem: WorkerError, why: str) -> None:
    assert why_not_joined(GROUP, problem).startswith(why)


def test_the_line_of_mlx_launch_that_tells_something() -> None:
    output = """[WARN] Node with rank 1 exited with code 255
Traceback (most recent call last):
  File "launch.py", line 5, in main
    run()
subprocess.CalledProcessError: Command '' returned non-zero exit status 255.
"""
    assert telling_line(output) == "[WARN] Node with rank 1 exited with code 255"
    assert telling_line("\n") is None
