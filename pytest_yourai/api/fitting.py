"""What fits where, from many profiles, for programs and notebooks."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_yourai.core.config import Objective
from pytest_yourai.core.errors import OptionError
from pytest_yourai.core.parsing import one_of
from pytest_yourai.report.fits_text import flat_rows, formatted
from pytest_yourai.report.page.fits_page import fits_page
from pytest_yourai.store.what_fits.measured import Collection, read_collection
from pytest_yourai.store.what_fits.table import FitsTable

if TYPE_CHECKING:
    import pandas as pd


def fits(*sources: str | os.PathLike[str], objective: str = Objective.SCORE.value) -> Fits:
    """Which configuration of a model fits which machine, from profiles and folders of them.

    `objective`, score or tokens_per_second, says which of the configurations that were measured
    counts. RecordingError, an InputError, where a file that is named is no profile, or nothing is.
    """
    try:
        best = Objective(one_of(*Objective)(objective))
    except ValueError as problem:
        raise OptionError(f"objective: {objective!r} is not valid: {problem}") from None
    found = read_collection([Path(os.fspath(each)).expanduser() for each in sources])
    return Fits(FitsTable.of(found.profiles, best), found)


@dataclass(frozen=True, eq=False, repr=False)
class Fits:
    """One table of many profiles. Printed it is text, and a notebook shows it as a page has it."""

    _table: FitsTable
    _collection: Collection

    @property
    def rows(self) -> Sequence[Mapping[str, Any]]:
        """A mapping for each cell, with the keys of `yourai fits --format json`; bytes."""
        return flat_rows(self._table)

    @property
    def left_out(self) -> tuple[str, ...]:
        """Why files of folders are not in it."""
        return tuple(each.why for each in self._collection.left_out)

    def to_markdown(self) -> str:
        """The table for GitHub."""
        return formatted(self._table, "md")

    def to_html(self) -> str:
        """The page, which is sorted and filtered, as one file."""
        return fits_page(self._table, self._collection)

    def to_pandas(self) -> pd.DataFrame:
        """The rows as a pandas DataFrame. ImportError where pandas is not installed."""
        try:
            import pandas as pd  # noqa: PLC0415 - an optional package
        except ImportError:
            raise ImportError(
                "to_pandas needs pandas: install it with pip install pandas"
            ) from None
        return pd.DataFrame(self.rows)

    def __repr__(self) -> str:
        return formatted(self._table, "table").rstrip()
