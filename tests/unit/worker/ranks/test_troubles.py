import itertools
import signal

import pytest

from pytest_yourai.core.errors import (
    DataError,
    PeerLostError,
    RankDiedError,
    SafetyStopError,
    WorkerFailedError,
)
from pytest_yourai.worker.messages import Failed
from pytest_yourai.worker.ranks.troubles import Trouble, root_cause

LOST = Failed("exception", "RuntimeError: [ring] connection to a peer was lost", "")
LOSES_A_PEER = Trouble(0, "rank 0 (a)", failed=LOST)
ABORTED_BY_RING = Trouble(0, "rank 0 (a)", status=-6, last_words="[ring] Too many errors")
KILLED = Trouble(1, "rank 1 (b)", status=-signal.SIGKILL, last_words="[ring] Socket 5 was closed")
STOPPED = Trouble(1, "rank 1 (b)", was_stopped=True)
SILENT = Trouble(1, "rank 1 (b)")
GUARDED = Trouble(1, "rank 1 (b)", stop=SafetyStopError("1.0 GB left", is_its_own_fault=True))
RAISED = Trouble(1, "rank 1 (b)", failed=Failed("exception", "ValueError: no", "trace"))


@pytest.mark.parametrize(
    ("cause", "kind", "text"),
    [
        (KILLED, RankDiedError, "status -9"),
        (STOPPED, PeerLostError, "the worker of rank 1 \\(b\\) was stopped by a signal"),
        (SILENT, PeerLostError, "the connection to rank 1 \\(b\\) was lost"),
        (GUARDED, SafetyStopError, "rank 1 \\(b\\): 1.0 GB left"),
        (RAISED, WorkerFailedError, "rank 1 \\(b\\): ValueError: no"),
    ],
)
@pytest.mark.parametrize("consequence", [LOSES_A_PEER, ABORTED_BY_RING])
def test_the_cause_is_found_whatever_comes_first(
    cause: Trouble, kind: type[Exception], text: str, consequence: Trouble
) -> None:
    for order in itertools.permutations([cause, consequence]):
        found = root_cause(order, 2)
        assert type(found) is kind
        with pytest.raises(kind, match=text):
            raise found


def test_where_all_lose_each_other_no_rank_is_to_blame() -> None:
    other = Trouble(1, "rank 1 (b)", failed=LOST)
    with pytest.raises(PeerLostError, match="rank 0 \\(a\\) lost the other ranks \\(RuntimeError"):
        raise root_cause([LOSES_A_PEER, other], 2)


def test_what_all_ranks_raise_is_the_failure_of_the_run() -> None:
    both = [Trouble(rank, f"rank {rank}", failed=Failed("data", "no rows", "")) for rank in (0, 1)]
    found = root_cause(both, 2)
    assert isinstance(found, DataError)
    assert str(found) == "no rows"


def test_a_rank_that_fails_while_the_others_wait_for_it_is_named() -> None:
    with pytest.raises(WorkerFailedError, match="rank 1 \\(b\\): ValueError: no"):
        raise root_cause([RAISED], 2)


def test_a_guard_comes_before_all_else() -> None:
    assert isinstance(root_cause([KILLED, GUARDED], 2), SafetyStopError)


def test_a_worker_that_died_names_its_rank() -> None:
    found = root_cause([KILLED], 2)
    assert isinstance(found, RankDiedError)
    assert (found.name, found.returncode) == ("rank 1 (b)", -9)
