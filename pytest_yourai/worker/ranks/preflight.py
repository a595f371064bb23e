"""Whether the ranks of a group can train together, by what they say before a model is loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pytest_yourai.core.device import DeviceInfo
from pytest_yourai.core.errors import ConnectError
from pytest_yourai.worker.ranks.wire import Hello

_PACKAGES = ("mlx", "mlx-lm", "pytest-yourai")


def check_versions(hellos: Sequence[Hello]) -> None:
    """ConnectError where a rank has another Python, MLX, mlx-lm or pytest-yourai than rank 0."""
    first = hellos[0]
    for hello in hellos[1:]:
        for name in ("python", *_PACKAGES):
            ours, theirs = (each.versions.get(name) for each in (first, hello))
            if name == "python" and ours is not None and theirs is not None:
                ours, theirs = (each.rpartition(".")[0] for each in (ours, theirs))
            if ours != theirs:
                raise ConnectError(
                    f"rank {hello.rank} ({hello.host}) has {name} {theirs or '(none)'}, and rank 0 "
                    f"({first.host}) has {ours or '(none)'}: install the same version on both"
                )


def check_devices(hellos: Sequence[Hello], devices: Sequence[DeviceInfo]) -> None:
    """ConnectError where a rank runs on another backend than rank 0."""
    for hello, device in zip(hellos, devices, strict=True):
        if device.backend != devices[0].backend:
            raise ConnectError(
                f"rank {hello.rank} ({hello.host}) runs on {device.backend}, and rank 0 "
                f"({hellos[0].host}) on {devices[0].backend}: install the same backend of MLX on "
                "both, and start no more ranks than a host has GPUs"
            )


def check_files(hellos: Sequence[Hello], digests: Sequence[str | None], folder: str) -> None:
    """ConnectError where a rank does not have the model's files that rank 0 has."""
    for hello, digest in zip(hellos, digests, strict=True):
        if digest is None:
            raise ConnectError(
                f"rank {hello.rank} ({hello.host}) has no folder {folder}: copy the model to the "
                "same path there"
            )
        if digest != digests[0]:
            raise ConnectError(
                f"rank {hello.rank} ({hello.host}) has other files in {folder} than rank 0 "
                f"({hellos[0].host}): copy the model again, so that names, sizes and contents agree"
            )


def most_ranks_of_a_host(hellos: Sequence[Hello]) -> int:
    """How many ranks share the memory of the host that has the most of them."""
    return max(Counter(hello.host for hello in hellos).values())
