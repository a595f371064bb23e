"""Lines about training data for the console."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from pytest_yourai.core.results import TrialResult
from pytest_yourai.core.units import duration, gigabytes, plural, seconds
from pytest_yourai.estimate.step_time import longest_step_s
from pytest_yourai.models.dataset_lengths import TrainingData, padded_length

_WIDEST_BAR = 30


def data_lines(data: TrainingData | None, max_seq_lengths: Collection[int]) -> Iterator[str]:
    """Lines for the header; none for synthetic rows."""
    if data is None:
        return
    yield (
        f"Training data: {plural(data.rows, 'row')}, {data.tokens:,} tokens; a row has "
        f"{data.shortest:,} to {data.longest:,}, median {data.median:,.0f}"
    )
    bars = data.histogram(max(max_seq_lengths))
    names = [bar_name(bar.least, bar.most) for bar in bars]
    most, width = max(bar.rows for bar in bars), max(map(len, names))
    for name, bar in zip(names, bars, strict=True):
        # At least one character long if there is a row.
        length = max(1, round(bar.rows / most * _WIDEST_BAR)) if bar.rows else 0
        yield f"  {name:>{width}}  {'█' * length:{_WIDEST_BAR}}  {bar.rows:,}"
    for limit in sorted(max_seq_lengths):
        if cut := data.rows_over(limit):
            are = "is" if cut == 1 else "are"
            yield f"  {plural(cut, 'row')} of over {limit:,} tokens {are} cut"
    yield from (f"  Note: {note}" for note in data.notes)
    yield ""


def bar_name(least: int, most: int | None) -> str:
    """The lengths that a bar counts, in tokens; `most` is None for the last one."""
    return f"{least:,}–{most:,}" if most else f"over {least - 1:,}"


def epoch_lines(data: TrainingData | None, optimum: TrialResult) -> Iterator[str]:
    """Lines for the summary, below the optimum."""
    if data is None:
        return
    epoch = data.epoch(optimum.config.batch_size, optimum.config.max_seq_length)
    shapes = plural(epoch.padded_shapes, "padded shape")
    share = f"{epoch.padding_share * 100:.1f} % of an epoch"
    yield f"  Longest batch: {_longest_batch(data, optimum)}"
    which = "each" if epoch.padded_shapes > 1 else "which"
    yield f"  Padding:       {share}; {shapes}, {which} compiles once"
    if optimum.epoch_time_s is not None:
        steps = plural(epoch.batches, "step")
        yield f"  Epoch:         about {duration(optimum.epoch_time_s)}, {steps}"


def _longest_batch(data: TrainingData, result: TrialResult) -> str:
    """`897 tokens, 8.3s a step, needs 441.8 MB, takes 486.4 MB`."""
    width = padded_length(data.longest, result.config.max_seq_length)
    parts = [f"{width:,} tokens"]
    if (time_s := longest_step_s(data, result)) is not None:
        parts.append(f"{seconds(time_s)} a step")
    if result.minimum_memory_bytes:
        parts.append(f"needs {gigabytes(result.minimum_memory_bytes)}")
    if result.peak_memory_bytes:
        parts.append(f"takes {gigabytes(result.peak_memory_bytes)}")
    return ", ".join(parts)
