"""What cutting rows shorter would save, as text."""

from __future__ import annotations

from pytest_yourai.core.axes import MAX_SEQ_LENGTH
from pytest_yourai.core.units import duration, same_memory
from pytest_yourai.estimate.shorter_rows import ShorterRows
from pytest_yourai.models.dataset_lengths import TrainingData
from pytest_yourai.plan.nearest_fits import NearestFit

_WHOLE_PERCENT = 10


def shorter_rows_text(offer: ShorterRows) -> str:
    """`512: 3 % of rows cut (1 % of tokens), needs 8.6 instead of 14.1 GB, by estimate`."""
    memory = same_memory([offer.needs_bytes, offer.instead_of_bytes])
    needs = memory(offer.needs_bytes).partition(" ")[0]
    text = (
        f"{offer.config.max_seq_length:,}: {_percent(offer.share_of_rows)} of rows cut "
        f"({_percent(offer.share_of_tokens)} of tokens), "
        f"needs {needs} instead of {memory(offer.instead_of_bytes)}"
    )
    if offer.epoch_time_s is not None and offer.instead_of_epoch_time_s is not None:
        then, now = duration(offer.epoch_time_s), duration(offer.instead_of_epoch_time_s)
        text += f", an epoch about {then} instead of {now}" if then != now else ""
    return f"{text}, {'measured' if offer.is_measured else 'by estimate'}"


def cut_words(data: TrainingData | None, fit: NearestFit) -> str:
    """` (3 % of rows cut)`, after a change to rows that are shorter than some of the data."""
    cut = data.rows_over(fit.config.max_seq_length) if data else 0
    if data is None or not cut or MAX_SEQ_LENGTH not in fit.changed_axes:
        return ""
    return f" ({_percent(cut / data.rows)} of rows cut)"


def _percent(share: float) -> str:
    percent = share * 100
    return f"{percent:.2g} %" if percent < _WHOLE_PERCENT else f"{percent:.0f} %"
