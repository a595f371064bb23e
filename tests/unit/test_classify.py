import signal

import pytest

from pytest_yourai.classify import Evidence, classify
from pytest_yourai.results import Outcome

GB = 1_000_000_000

OUT_OF_MEMORY = [
    "RuntimeError: cudaMallocAsync(&data, size, stream) failed: out of memory",
    "RuntimeError: [metal::malloc] Attempting to allocate 9000 bytes which is greater than the maximum allowed buffer size of 8000 bytes.",  # noqa: E501 - as MLX says it
    "RuntimeError: [malloc] Unable to allocate 12884901888 bytes.",
    "RuntimeError: [METAL] Command buffer execution failed: Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory).",  # noqa: E501 - as MLX says it
    "MemoryError: std::bad_alloc",
]


@pytest.mark.parametrize("text", OUT_OF_MEMORY)
def test_texts_of_all_backends_mean_out_of_memory(text: str) -> None:
    outcome, reason = classify(Evidence("in step 1", exception=text))
    assert outcome is Outcome.OOM
    assert reason.startswith("out of memory in step 1: ")


@pytest.mark.parametrize(
    "text",
    [
        "ValueError: Dataset must have at least batch_size=4 examples but only has 2.",
        "RuntimeError: [METAL] Command buffer execution failed: Impacting Interactivity (0000000e:kIOGPUCommandBufferCallbackErrorImpactingInteractivity).",  # noqa: E501 - as MLX says it
        "RuntimeError: [metal::malloc] Resource limit (499000) exceeded.",
    ],
)
def test_other_texts_are_errors_with_their_first_line(text: str) -> None:
    outcome, reason = classify(Evidence("in step 2", exception=text + "\nmore"))
    assert outcome is Outcome.ERROR
    assert reason == f"{text} (in step 2)"


def test_an_invalid_loss_is_named() -> None:
    evidence = Evidence("in step 3", exception="the loss was nan", loss_is_invalid=True)
    outcome, reason = classify(evidence)
    assert outcome is Outcome.INVALID_LOSS
    assert "the loss was nan" in reason


@pytest.mark.parametrize(
    ("number", "peak", "available", "expected"),
    [
        (signal.SIGKILL, 9.5 * GB, 50 * GB, Outcome.OOM),
        (signal.SIGSEGV, 9.5 * GB, 50 * GB, Outcome.OOM),
        (signal.SIGKILL, 1 * GB, 1 * GB, Outcome.OOM),
        (signal.SIGSEGV, 1 * GB, 50 * GB, Outcome.CRASHED),
        (signal.SIGKILL, 1 * GB, 50 * GB, Outcome.CRASHED),
        (signal.SIGTERM, 9.5 * GB, 1 * GB, Outcome.CRASHED),
    ],
)
def test_a_death_by_signal_is_memory_only_near_a_limit(
    number: signal.Signals, peak: float, available: int, expected: Outcome
) -> None:
    outcome, reason = classify(
        Evidence(
            "in step 4",
            returncode=-number,
            largest_bytes=int(peak),
            memory_limit_bytes=10 * GB,
            available_bytes=int(available),
        )
    )
    assert outcome is expected
    assert number.name in reason
    assert "in step 4" in reason


def test_a_status_is_a_crash() -> None:
    outcome, reason = classify(Evidence("in step 1", returncode=3))
    assert outcome is Outcome.CRASHED
    assert "with status 3" in reason


def test_the_kernels_own_count_explains_a_kill() -> None:
    killed = Evidence("in step 1", returncode=-signal.SIGKILL, oom_kills=1)
    outcome, reason = classify(killed)
    assert outcome is Outcome.OOM
    assert "by the kernel for lack of memory" in reason
    assert classify(Evidence("in step 1", returncode=-signal.SIGSEGV, oom_kills=1))[0] is (
        Outcome.CRASHED
    )


@pytest.mark.parametrize(("space", "expected"), [(4 * GB, Outcome.OOM), (40 * GB, Outcome.CRASHED)])
def test_an_address_space_below_the_budget_explains_a_fault(space: int, expected: Outcome) -> None:
    evidence = Evidence(
        "in step 1",
        returncode=-signal.SIGSEGV,
        memory_limit_bytes=10 * GB,
        available_bytes=50 * GB,
        address_space_limit_bytes=space,
    )
    assert classify(evidence)[0] is expected
