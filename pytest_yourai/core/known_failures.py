"""Known failures of libraries and systems: their texts, and their remedies.

The texts are those of MLX 0.32 (mlx/backend/*/allocator.cpp, metal/device.cpp, cpu/compiled.cpp,
cuda/jit_module.cpp), of Metal's command buffers, huggingface_hub 2.4 and the C library.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pytest_yourai.core.outcomes import Outcome


@dataclass(frozen=True, slots=True)
class KnownFailure:
    """`pattern` finds it in a text in lower case; `remedy` completes the sentence.

    `in_training` is the remedy of `yourai train`, None where that is the same.
    """

    outcome: Outcome
    what: str
    remedy: str
    pattern: str
    in_training: str | None = None


# In this order: a full disk and a lack of memory also make compilers fail.
KNOWN_FAILURES = (
    KnownFailure(
        Outcome.ERROR,
        "the disk is full",
        "make room on it, or set TMPDIR to a folder on another one",
        r"no space left on device|\[errno 28\]|disk quota exceeded|\[errno 122\]",
    ),
    KnownFailure(
        Outcome.OOM,
        "one array was larger than Metal allows",
        "use a smaller batch_size, or a shorter max_seq_length",
        r"the maximum allowed buffer size",
    ),
    KnownFailure(
        Outcome.OOM,
        "out of memory",
        "choose a smaller configuration, or close programs",
        r"failed: out of memory|cudaerrormemoryallocation|cuda out of memory|"
        r"callbackerroroutofmemory|execution failed: insufficient memory|"
        r"\[malloc\] unable to allocate|std::bad_alloc|"
        r"cannot allocate memory|status_alloc_failed|memoryerror:",
    ),
    KnownFailure(
        Outcome.ERROR,
        "MLX could not compile",
        "install a complete C++ compiler (g++ or Xcode's command line tools), or set "
        "MLX_DISABLE_COMPILE=1",
        r"failed to compile function|failed to load compiled function|"
        r"failed to compile kernel|unable to build metal library",
    ),
    KnownFailure(
        Outcome.ERROR,
        "the folder for temporary files is not there",
        "make it, or set TMPDIR to one that is there and writable",
        r"temp_directory_path",
    ),
    KnownFailure(
        Outcome.ERROR,
        "the GPU watchdog stopped the work",
        "let the display sleep (pmset displaysleepnow) or run without one, set "
        "AGX_RELAX_CDM_CTXSTORE_TIMEOUT=1, or use a shorter --yourai-seq-length",
        r"impacting interactivity|impactinginteractivity|gpu timeout error|gpu hang|"
        r"the launch timed out",
    ),
    KnownFailure(
        Outcome.ERROR,
        "the GPU was reset because of other work",
        "close programs that use the GPU, and run it again",
        r"innocentvictim|victim of gpu error|submissionsignored|prior/excessive gpu",
    ),
    KnownFailure(
        Outcome.ERROR,
        "MLX has too many live buffers",
        "use --yourai-isolation=trial, so that each trial starts with none",
        r"resource limit \(",
        "give a --reload-interval, so that a fresh process starts with none now and then",
    ),
    KnownFailure(
        Outcome.ERROR,
        "mlx-lm cannot train these modules of this model here",
        "name others with --yourai-lora-keys, or another model",
        r"cannot calculate vjp|::vjp\]|no metal back-end|\[grad\] must specify|"
        r"during function transformations",
    ),
    KnownFailure(
        Outcome.UNAVAILABLE,
        "the model is gated",
        "accept its licence on its page, and log in (hf auth login)",
        r"cannot access gated repo|gatedrepoerror|is restricted\. you must",
    ),
    KnownFailure(
        Outcome.UNAVAILABLE,
        "the model is not there",
        "check its name, log in (hf auth login) where it is private, or put its files in place",
        r"repository not found|repositorynotfounderror|401 client error|403 client error|"
        r"404 client error|entrynotfounderror|revisionnotfounderror|no safetensors found|"
        r"\[load_safetensors\] failed to open|hfvalidationerror",
    ),
    KnownFailure(
        Outcome.UNAVAILABLE,
        "the network is not there",
        "connect (and unset HF_HUB_OFFLINE), or name a model that is on this machine",
        r"max retries exceeded|name resolution|failed to resolve|connecterror|"
        r"connecttimeout|offlinemodeisenabled|network is unreachable",
    ),
    KnownFailure(
        Outcome.UNAVAILABLE,
        "the hub does not answer",
        "run it again when it does: files that are complete are kept",
        r"readtimeout|writetimeout",
    ),
    KnownFailure(
        Outcome.UNAVAILABLE,
        "the connection broke",
        "run it again: files that are complete are kept",
        r"httpx2\.readerror|remoteprotocolerror|peer closed connection|"
        r"consistency check failed",
    ),
    KnownFailure(
        Outcome.UNAVAILABLE,
        "the hub refuses for now",
        "run it again later: files that are complete are kept",
        r"server error '5|429 too many requests",
    ),
)


def recognise(text: str) -> KnownFailure | None:
    """The known failure that `text` reports; None for another."""
    return next((known for known in KNOWN_FAILURES if re.search(known.pattern, text.lower())), None)
