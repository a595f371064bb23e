"""The arguments of pytest for another run: some flags left out, or replaced."""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterator, Sequence

from pytest_yourai.core.axes import GRAD_ACCUMULATION_STEPS, SIZES
from pytest_yourai.plan.flags import FLAGS
from pytest_yourai.plan.nearest_fits import NearestFit, axis_flag
from pytest_yourai.plan.short_commands import PASSED_SWITCHES

_SWITCHES = (
    *("--quick", *PASSED_SWITCHES),
    *(flag.option for flag in FLAGS if flag.metavar is None),
)


def without_flags(arguments: Sequence[str], *flags: str) -> list[str]:
    """`arguments` of pytest without `flags` and their values."""
    return [word for is_one, words in _parted(arguments, flags) if not is_one for word in words]


def only_flags(arguments: Sequence[str], *flags: str) -> list[str]:
    """Of `arguments` of pytest only `flags` and their values."""
    return [word for is_one, words in _parted(arguments, flags) if is_one for word in words]


def _parted(
    arguments: Sequence[str], flags: Container[str]
) -> Iterator[tuple[bool, Sequence[str]]]:
    """Each argument, and with one of `flags` its value; True for these."""
    rest = iter(arguments)
    for argument in rest:
        name, separator, _ = argument.partition("=")
        # -kNAME
        has_attached = name[:2] in flags and len(name) > len("-k")
        if name in flags and not separator and name not in _SWITCHES:
            yield True, [argument, *itertools.islice(rest, 1)]
        else:
            yield name in flags or has_attached, [argument]


def changed_arguments(arguments: Sequence[str], fit: NearestFit) -> list[str]:
    """`arguments` of a sweep that tries the one configuration of `fit` instead."""
    flags = dict.fromkeys((*(axis_flag(axis, fit.config) for axis in SIZES), *fit.flags))
    replaced = [flag.partition("=")[0] for flag in flags]
    if GRAD_ACCUMULATION_STEPS in fit.changed_axes:
        replaced.append("--yourai-effective-batch-size")
    return [*without_flags(arguments, *replaced), *flags]
