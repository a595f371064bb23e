"""Answers without a session: which models fit, and whether measuring is sound on this machine."""

from __future__ import annotations

import functools
import sys

import pytest

from pytest_yourai.plan.estimates_file import write
from pytest_yourai.plan.options import check_files
from pytest_yourai.plan.recommend import recommend
from pytest_yourai.plugin import command_line
from pytest_yourai.plugin.read_options import read_options, verification_file
from pytest_yourai.report.recommendation_lines import lines
from pytest_yourai.report.safe_stream import print_lines
from pytest_yourai.sweep.row_lengths import rows_reader


def answer(config: pytest.Config) -> int:
    """Print what the command line asks for; the exit status, a failure where it is a no."""
    if config.getoption("yourai_verify"):
        # It needs numpy, which takes a while.
        from pytest_yourai.verify.command import run  # noqa: PLC0415

        succeeded = run(verification_file(config), "--yourai-output", sys.stdout)
    else:
        succeeded = _recommend(config)
    return int(pytest.ExitCode.OK if succeeded else pytest.ExitCode.TESTS_FAILED)


def _recommend(config: pytest.Config) -> bool:
    """Print which models fit; True if one does."""
    print_now = functools.partial(print_lines, sys.stdout)
    asked = read_options(config)
    if config.getoption("yourai_output"):
        check_files(asked)
    found = recommend(asked, rows_reader(asked.worker_start_timeout_s, print_now))
    # An output in the ini file is that of sweeps: estimates must not take a profile's place.
    if config.getoption("yourai_output"):
        kept = write(asked.output, found)
        if kept is not None:
            print_lines(sys.stdout, f"Kept as {kept}: what was there before")
    # Before a session there is no terminal reporter.
    print_lines(sys.stdout, *lines(found, command_line.invocation(config)))
    return found.largest_that_fits is not None
