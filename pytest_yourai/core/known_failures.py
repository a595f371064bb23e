"""Known failures of libraries and systems: their texts, and their remedies.

The texts are those of MLX 0.32 (mlx/backend/*/allocator.cpp, metal/device.cpp, cpu/compiled.cpp,
cuda/jit_module.cpp), of Metal's command buffers, huggingface_hub 2.4 and the C library.
"""

from __future__ import annotations

from dataclasses import dataclass

from pytest_yourai.core.results import Outcome


@dataclass(frozen=True, slots=True)
class KnownFailure:
    """`signs` are lower-case parts of the text; `remedy` completes the sentence."""

    outcome: Outcome
    what: str
    remedy: str
    signs: tuple[str, ...]


# In this order: a full disk and a lack of memory also make compilers fail.
_KNOWN = (
    KnownFailure(
        Outcome.ERROR,
        "the disk is full",
        "make room on it, or set TMPDIR to a folder on another one",
        ("no space left on device", "[errno 28]", "disk quota exceeded", "[errno 122]"),
    ),
    KnownFailure(
        Outcome.OOM,
        "out of memory",
        "choose a smaller configuration, or close programs",
        (
            "failed: out of memory",  # cudaMallocAsync(&data, size, stream) failed: out of memory
            "cudaerrormemoryallocation",
            "cuda out of memory",
            "callbackerroroutofmemory",
            "execution failed: insufficient memory",  # [METAL] Command buffer execution failed: ...
            "[malloc] unable to allocate",  # [malloc] Unable to allocate N bytes.
            "the maximum allowed buffer size",  # [metal::malloc] Attempting to allocate N bytes ...
            "std::bad_alloc",
            "cannot allocate memory",
            "status_alloc_failed",  # cuBLAS, cuDNN
            "memoryerror:",
        ),
    ),
    KnownFailure(
        Outcome.ERROR,
        "MLX could not compile",
        "install a complete C++ compiler (g++ or Xcode's command line tools), or set "
        "MLX_DISABLE_COMPILE=1",
        (
            "failed to compile function",
            "failed to load compiled function",
            "failed to compile kernel",
            "unable to build metal library",
        ),
    ),
    KnownFailure(
        Outcome.ERROR,
        "the folder for temporary files is not there",
        "make it, or set TMPDIR to one that is there and writable",
        ("temp_directory_path",),
    ),
    KnownFailure(
        Outcome.ERROR,
        "the GPU watchdog stopped the work",
        "let the display sleep or run without one, or use a shorter --yourai-seq-length",
        (
            "impacting interactivity",
            "impactinginteractivity",
            "gpu timeout error",
            "gpu hang",
            "the launch timed out",  # CUDA
        ),
    ),
    KnownFailure(
        Outcome.ERROR,
        "the GPU was reset because of other work",
        "close programs that use the GPU, and run it again",
        ("innocentvictim", "victim of gpu error", "submissionsignored", "prior/excessive gpu"),
    ),
    KnownFailure(
        Outcome.ERROR,
        "MLX has too many live buffers",
        "use --yourai-isolation trial, so that each trial starts with none",
        ("resource limit (",),
    ),
    KnownFailure(
        Outcome.UNAVAILABLE,
        "the model is gated",
        "accept its licence on its page, and log in (hf auth login)",
        ("cannot access gated repo", "gatedrepoerror", "is restricted. you must"),
    ),
    KnownFailure(
        Outcome.UNAVAILABLE,
        "the model is not there",
        "check its name, log in (hf auth login) where it is private, or put its files in place",
        (
            "repository not found",
            "repositorynotfounderror",
            "401 client error",
            "403 client error",
            "404 client error",
            "entrynotfounderror",
            "revisionnotfounderror",
            "no safetensors found",
            "[load_safetensors] failed to open",
            "hfvalidationerror",
        ),
    ),
    KnownFailure(
        Outcome.UNAVAILABLE,
        "the network is not there",
        "connect (and leave HF_HUB_OFFLINE out), or use what is on this machine with "
        "--yourai-weights auto",
        (
            "max retries exceeded",
            "name resolution",
            "failed to resolve",
            "connecterror",
            "connecttimeout",
            "offlinemodeisenabled",
            "network is unreachable",
        ),
    ),
    KnownFailure(
        Outcome.UNAVAILABLE,
        "the hub does not answer",
        "run it again when it does: files that are complete are kept",
        ("readtimeout", "writetimeout"),
    ),
    KnownFailure(
        Outcome.UNAVAILABLE,
        "the connection broke",
        "run it again: files that are complete are kept",
        (
            "httpx2.readerror",
            "remoteprotocolerror",
            "peer closed connection",
            "consistency check failed",
        ),
    ),
    KnownFailure(
        Outcome.UNAVAILABLE,
        "the hub refuses for now",
        "run it again later: files that are complete are kept",
        ("server error '5", "429 too many requests"),
    ),
)


def recognise(text: str) -> KnownFailure | None:
    """The known failure that `text` reports; None for another."""
    lower = text.lower()
    return next((known for known in _KNOWN if any(sign in lower for sign in known.signs)), None)
