from __future__ import annotations

import signal
from typing import Any

import pytest

from pytest_yourai.core.errors import WorkerDiedError, WorkerFailedError
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.machine.guard import Guard
from pytest_yourai.worker.diagnosis import Diagnosis, classify, remedied
from pytest_yourai.worker.run_record import Output, RunRecord, paging

GB = 1_000_000_000

METAL = "RuntimeError: [METAL] Command buffer execution failed: "

# As MLX, Metal, CUDA, huggingface_hub and the C library say it.
TEXTS = [
    (Outcome.OOM, "out of memory", "RuntimeError: cudaMallocAsync(&data, size, stream) failed: out of memory"),
    (Outcome.OOM, "one array was larger than Metal allows", "RuntimeError: [metal::malloc] Attempting to allocate 19327352832 bytes which is greater than the maximum allowed buffer size of 17179869184 bytes."),
    (Outcome.OOM, "out of memory", "RuntimeError: [malloc] Unable to allocate 12884901888 bytes."),
    (Outcome.OOM, "out of memory", METAL + "Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)."),
    (Outcome.OOM, "out of memory", "RuntimeError: cublasLtMatmul failed: CUBLAS_STATUS_ALLOC_FAILED"),
    (Outcome.OOM, "out of memory", "MemoryError: std::bad_alloc"),
    (Outcome.OOM, "out of memory", "OSError: [Errno 12] Cannot allocate memory"),
    (Outcome.OOM, "out of memory", "RuntimeError: [Compile::eval_cpu] Failed to compile function Add_VV: popen: Cannot allocate memory"),
    (Outcome.ERROR, "the GPU watchdog stopped the work", "RuntimeError: cudaStreamSynchronize(stream) failed: the launch timed out and was terminated"),
    (Outcome.ERROR, "the folder for temporary files is not there", "RuntimeError: filesystem error: temp_directory_path: No such file or directory [/absent]"),
    (Outcome.ERROR, "the GPU watchdog stopped the work", METAL + "Impacting Interactivity (0000000e:kIOGPUCommandBufferCallbackErrorImpactingInteractivity)."),
    (Outcome.ERROR, "the GPU watchdog stopped the work", METAL + "Caused GPU Timeout Error (00000002:kIOGPUCommandBufferCallbackErrorTimeout)."),
    (Outcome.ERROR, "the GPU was reset", METAL + "Discarded (victim of GPU error/recovery) (00000005:kIOGPUCommandBufferCallbackErrorInnocentVictim)."),
    (Outcome.ERROR, "the GPU was reset", METAL + "Ignored (for causing prior/excessive GPU errors) (00000004:kIOGPUCommandBufferCallbackErrorSubmissionsIgnored)."),
    (Outcome.ERROR, "MLX has too many live buffers", "RuntimeError: [metal::malloc] Resource limit (499000) exceeded."),
    (Outcome.ERROR, "MLX could not compile", 'RuntimeError: [Compile::eval_cpu] Failed to compile function Add_VV: Failed to execute command with return code 127: "g++ -std=c++17 ...", the output is: sh: 1: g++: not found'),
    (Outcome.ERROR, "MLX could not compile", "RuntimeError: Failed to compile kernel: catastrophic error: cannot open source file."),
    (Outcome.ERROR, "the disk is full", 'RuntimeError: [Compile::eval_cpu] Failed to compile function Add_VV: Failed to execute command with return code 1: "g++ ...", the output is: /usr/bin/ld: final link failed: No space left on device'),
    (Outcome.ERROR, "the disk is full", "OSError: [Errno 28] No space left on device: '/tmp/x'"),
    (Outcome.ERROR, "mlx-lm cannot train these modules", "ValueError: [gather_axis] Cannot calculate VJP with respect to indices."),
    (Outcome.ERROR, "mlx-lm cannot train these modules", "RuntimeError: [metal_kernel] No Metal back-end."),
    (Outcome.UNAVAILABLE, "the model is gated", "GatedRepoError: 403 Client Error. Cannot access gated repo for url ..."),
    (Outcome.UNAVAILABLE, "the model is not there", "RepositoryNotFoundError: 401 Client Error. Repository Not Found for url ..."),
    (Outcome.UNAVAILABLE, "the model is not there", "models/x cannot be loaded as mlx-lm does: FileNotFoundError: No safetensors found in models/x"),
    (Outcome.UNAVAILABLE, "the model is not there", "RepositoryNotFoundError: 404 Client Error. If you are trying to access a private or gated repo, make sure you are authenticated"),
    (Outcome.UNAVAILABLE, "the connection broke", "RemoteProtocolError: peer closed connection without sending complete message body (received 200000 bytes, expected 300000)"),
    (Outcome.UNAVAILABLE, "the hub does not answer", "httpx2.ReadTimeout: The read operation timed out"),
    (Outcome.UNAVAILABLE, "the hub refuses for now", "HfHubHTTPError: Server error '503 Service Unavailable' for url ..."),
    (Outcome.UNAVAILABLE, "the network is not there", "ConnectError: [Errno -3] Temporary failure in name resolution"),
]  # fmt: skip


class InStepFour(RunRecord):
    """A run in its fourth step whose MLX held `largest_bytes`, of a budget of 10 GB."""

    largest_bytes = GB

    @property
    def largest_mlx_bytes(self) -> int:
        return self.largest_bytes


def a_record(largest_bytes: int = GB) -> RunRecord:
    record = InStepFour(Guard(10 * GB, forced=False))
    record.where, record.largest_bytes = "in step 4", largest_bytes
    return record


def raised(text: str, *, loss_is_invalid: bool = False) -> Diagnosis:
    return classify(a_record(), WorkerFailedError(text, "", loss_is_invalid=loss_is_invalid))


@pytest.mark.parametrize(
    ("expected", "what", "text"), TEXTS, ids=[text[-40:] for *_, text in TEXTS]
)
def test_texts_of_all_backends_are_recognised(expected: Outcome, what: str, text: str) -> None:
    found = raised(text + "\nmore")
    reason = found.reason or ""
    assert found.outcome is expected
    assert reason.startswith(what)
    assert f"in step 4 ({text[:150]}" in reason
    assert len(reason) < 500
    assert expected.is_memory_failure is (expected is Outcome.OOM)


def test_every_class_has_a_remedy_of_its_own() -> None:
    remedies: dict[str, set[str | None]] = {}
    for _, what, text in TEXTS:
        diagnosis = raised(text)
        remedies.setdefault(what, set()).add(diagnosis.remedy)
    assert all(None not in found for found in remedies.values())
    assert all(len(found) == 1 for found in remedies.values())
    assert len({str(found) for found in remedies.values()}) == len(remedies)


def test_other_texts_are_errors_with_their_first_line() -> None:
    text = "ValueError: Dataset must have at least batch_size=4 examples but only has 2."
    assert raised(text + "\nmore") == Diagnosis(
        Outcome.ERROR, f"{text} (in step 4)", "fix what the traceback in the report shows"
    )


@pytest.mark.parametrize("text", ["ValueError: no rows in /data/out of memory study"])
def test_a_name_that_mentions_memory_is_not_taken_for_lack_of_it(text: str) -> None:
    assert raised(text).outcome is Outcome.ERROR


def test_an_exception_without_a_text_is_one_too() -> None:
    assert raised(" \n").outcome is Outcome.ERROR


def test_an_invalid_loss_is_named() -> None:
    found = raised("the loss was nan", loss_is_invalid=True)
    assert found.outcome is Outcome.INVALID_LOSS
    assert found.reason == ("the loss was nan in step 4: the model or its weights are unsound")


def died(
    status: int, largest_bytes: int = GB, array_bytes: int = 0, stderr: str = "", **trace: object
) -> tuple[Outcome, str]:
    record = a_record(largest_bytes)
    record.output = Output("", stderr)
    for name, value in {"least_available_bytes": 50 * GB, **trace}.items():
        setattr(record.guard.trace, name, value)
    found = classify(record, WorkerDiedError(status), array_bytes)
    return found.outcome, found.reason or ""


DEATHS = [
    ("killed near the budget", signal.SIGKILL, {"largest_bytes": 95 * GB // 10}, Outcome.OOM),
    ("faulted near the budget", signal.SIGSEGV, {"largest_bytes": 95 * GB // 10}, Outcome.OOM),
    ("just under near", signal.SIGSEGV, {"largest_bytes": 89 * GB // 10}, Outcome.CRASHED),
    ("killed on a full machine", signal.SIGKILL, {"least_available_bytes": GB, "was_under_the_floor": True}, Outcome.OOM),
    ("killed by the kernel", signal.SIGKILL, {"oom_kills": 1}, Outcome.OOM),
    ("another was killed by the kernel", signal.SIGSEGV, {"oom_kills": 1}, Outcome.CRASHED),
    ("faulted far from any limit", signal.SIGSEGV, {}, Outcome.CRASHED),
    ("killed far from any limit", signal.SIGKILL, {}, Outcome.CRASHED),
    ("bus error near the budget", signal.SIGBUS, {"largest_bytes": 10 * GB}, Outcome.OOM),
    ("aborted far from any limit", signal.SIGABRT, {}, Outcome.CRASHED),
    ("ended by a person", signal.SIGTERM, {"largest_bytes": 10 * GB, "was_under_the_floor": True}, Outcome.CRASHED),
    ("faulted at the address space's end", signal.SIGSEGV, {"address_space_limit_bytes": 4 * GB, "largest_address_space_bytes": 3 * GB}, Outcome.OOM),
    ("faulted far from the address space's end", signal.SIGSEGV, {"address_space_limit_bytes": 400 * GB, "largest_address_space_bytes": 3 * GB}, Outcome.CRASHED),
    ("killed at the address space's end", signal.SIGKILL, {"address_space_limit_bytes": 4 * GB, "largest_address_space_bytes": 3 * GB}, Outcome.CRASHED),
    ("asked for more than there is", signal.SIGSEGV, {"array_bytes": 60 * GB}, Outcome.OOM),
    ("asked for more than the address space", signal.SIGSEGV, {"array_bytes": 4 * GB, "largest_address_space_bytes": 2 * GB, "address_space_limit_bytes": 5 * GB}, Outcome.OOM),
    ("asked for less than the address space", signal.SIGSEGV, {"array_bytes": 2 * GB, "largest_address_space_bytes": 2 * GB, "address_space_limit_bytes": 5 * GB}, Outcome.CRASHED),
]  # fmt: skip


@pytest.mark.parametrize(
    ("number", "known", "expected"),
    [death[1:] for death in DEATHS],
    ids=[death[0] for death in DEATHS],
)
def test_a_death_is_memory_only_where_something_says_so(
    number: signal.Signals, known: dict[str, Any], expected: Outcome
) -> None:
    outcome, reason = died(-number, **known)
    assert outcome is expected
    assert f"{number.name} in step 4" in reason
    assert reason.startswith("out of memory: ") is (expected is Outcome.OOM)


ABORTS = [
    (Outcome.OOM, "Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)"),
    (Outcome.ERROR, "Impacting Interactivity (0000000e:kIOGPUCommandBufferCallbackErrorImpactingInteractivity)"),
    (Outcome.CRASHED, "Internal Error (00000001:kIOGPUCommandBufferCallbackErrorUnknown)"),
]  # fmt: skip


@pytest.mark.parametrize(("expected", "text"), ABORTS)
def test_what_an_aborting_process_says_last_counts(expected: Outcome, text: str) -> None:
    stderr = (
        "train: out of memory is a topic of this data set\n"
        "libc++abi: terminating due to uncaught exception of type std::runtime_error: "
        f"[METAL] Command buffer execution failed: {text}\nFatal Python error: Aborted\n"
    )
    outcome, reason = died(-signal.SIGABRT, stderr=stderr)
    assert outcome is expected
    assert "SIGABRT in step 4" in reason


def test_what_a_process_printed_earlier_does_not_count() -> None:
    assert died(-signal.SIGABRT, stderr="out of memory\n")[0] is Outcome.CRASHED


def test_a_status_is_a_crash() -> None:
    assert died(3) == (Outcome.CRASHED, "the worker ended in step 4 with status 3")


@pytest.mark.parametrize(
    ("paces", "swap", "expected"),
    [
        ([1.0, 1.1, 3.2, 3.2, 1.0], GB, True),
        ([1.0, 1.1, 3.2], GB, True),
        ([1.0, 1.1, 3.2, 1.1], GB, False),
        ([1.0, 1.1, 3.0, 3.0], GB, False),
        ([1.0, 9.0, 9.0], 10_000_000, False),
        ([1.0, 9.0, 9.0], 0, False),
        ([9.0, 9.0, 1.0, 1.0], GB, False),
        ([], GB, False),
    ],
)
def test_paging_is_swap_growth_and_steps_that_became_slow(
    paces: list[float], swap: int, expected: bool
) -> None:
    assert (paging(paces, swap) is not None) is expected


def test_the_reason_for_paging_has_both_numbers() -> None:
    reason = paging([1.0, 7.4], 3 * GB) or ""
    assert "swap grew by 3.0 GB" in reason
    assert "a step took 7.4s, 7 times its fastest" in reason


def test_made_up_weights_are_not_the_remedy_for_themselves() -> None:
    found = raised("the loss was nan", loss_is_invalid=True)
    assert "weights=synthetic" in (remedied(found, is_synthetic=False).remedy or "")
    made_up = remedied(found, is_synthetic=True)
    assert "synthetic" not in (made_up.remedy or "")
    assert made_up.reason == found.reason
    failed = raised("RuntimeError: something")
    assert remedied(failed, is_synthetic=True) == failed
