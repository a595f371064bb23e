"""The verdicts: from what was measured to one line each. Pure."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pytest_yourai.core.device import Backend
from pytest_yourai.core.power import PowerState, PowerTrace
from pytest_yourai.core.units import gigabytes, same_memory, seconds
from pytest_yourai.verify.document import Line, Status

STEP_TIME_SHARE = 0.05

_LARGEST_NOISE_SHARE = 0.025
"""With a larger standard error a step time that is 10 % off could pass."""

_RESAMPLES = 400

PEAK_SHARE = 0.01

_REPEAT_SHARES: dict[Backend, float] = {"cpu": 0.025, "metal": 0.01, "cuda": 0.01}

_PREDICTION_SHARES: dict[Backend, float] = {"cpu": 0.12, "metal": 0.05, "cuda": 0.05}

_FOOTPRINT_SHARES: dict[Backend, float] = {"cpu": 0.05, "metal": 0.05, "cuda": 0.15}

LONGEST_SLEEP_S = 1.0


@dataclass(frozen=True, slots=True)
class Check:
    """A line before it is judged: its name in the file, and for people."""

    name: str
    title: str

    def not_read(self, why: str) -> Line:
        """The line where nothing can be judged on this machine."""
        return Line(name=self.name, title=self.title, status=Status.NOT_READ, note=why)

    def broken_off(self, why: str) -> Line:
        """The line where what it is about did not come to its end."""
        return Line(name=self.name, title=self.title, status=Status.FAILED, note=why)


STEP_TIME = Check("step_time", "Step time of a trial beside mlx_lm.lora's")
PEAK = Check("peak", "Peak memory of a trial beside mlx_lm.lora's")
REPEAT = Check("minimum_repeats", "Minimum memory of the same trial again")
LIMIT = Check("limit", "Peak of training under a limit")
FOOTPRINT = Check("footprint", "Footprint that the guard sees, beside the system's")
CONDITIONS = Check("conditions", "Sleep, power and heat meanwhile")


def prediction_check(kind: str, title: str) -> Check:
    """The check of the estimate for one kind of model."""
    return Check(f"prediction_{kind}", f"Predicted minimum memory, {title}")


def step_time(ours_s: Sequence[float], theirs_s: Sequence[float]) -> Line:
    """Steps that were taken in turn, by the estimate of their ratio that has the less error."""
    pairs = list(zip(ours_s, theirs_s, strict=True))
    errors = {each: _standard_error(each, pairs) for each in (_median_ratio, _ratio_of_fastest)}
    best = min(errors, key=lambda each: errors[each])
    off, noise = best(pairs) - 1, errors[best]
    # Load that comes and goes disturbs one of them for a while: then they do not agree.
    is_sure = all(
        abs(each(pairs) - 1) > STEP_TIME_SHARE + 2 * error for each, error in errors.items()
    )
    usual = f"{seconds(statistics.median(ours_s))} beside {seconds(statistics.median(theirs_s))}"
    which = "median" if best is _median_ratio else "fastest tenth"
    note = f"{usual}, {which} of {len(pairs)} pairs, ± {noise:.1%}"
    line = _within(STEP_TIME, off, STEP_TIME_SHARE, note, ours_s=ours_s, mlx_lm_s=theirs_s)
    if noise > _LARGEST_NOISE_SHARE and not is_sure:
        unsure = f"{note}: too much noise to tell, so close other programs and run it again"
        return line.model_copy(update={"status": Status.NOT_READ, "note": unsure})
    return line


def _median_ratio(pairs: Sequence[tuple[float, float]]) -> float:
    return statistics.median(ours / theirs for ours, theirs in pairs)


def _ratio_of_fastest(pairs: Sequence[tuple[float, float]]) -> float:
    """Of the means of the fastest tenths: other programs disturb those the least."""
    count = max(1, len(pairs) // 10)
    ours, theirs = (sorted(each)[:count] for each in zip(*pairs, strict=True))
    return statistics.fmean(ours) / statistics.fmean(theirs)


def _standard_error(
    estimate: Callable[[Sequence[tuple[float, float]]], float],
    pairs: Sequence[tuple[float, float]],
) -> float:
    """By the bootstrap; always the same for the same pairs."""
    chance = random.Random(0)  # noqa: S311 - not for secrets
    found = [estimate(chance.choices(pairs, k=len(pairs))) for _ in range(_RESAMPLES)]
    return statistics.stdev(found)


def peak(ours_bytes: Sequence[int], theirs_bytes: Sequence[int]) -> Line:
    """The largest of the peaks of the steps in turn."""
    ours, theirs = max(ours_bytes), max(theirs_bytes)
    note = _two(ours, " beside ", theirs)
    samples = {"ours_bytes": ours_bytes, "mlx_lm_bytes": theirs_bytes}
    return _within(PEAK, ours / theirs - 1, PEAK_SHARE, note, **samples)


def repeats(first_bytes: int, again_bytes: int, backend: Backend) -> Line:
    """The minimum of two equal trials, in two processes."""
    off = again_bytes / first_bytes - 1
    note = _two(first_bytes, ", then ", again_bytes)
    return _within(
        REPEAT, off, _REPEAT_SHARES[backend], note, minimum_bytes=[first_bytes, again_bytes]
    )


def limit(limit_bytes: int, peaks_bytes: Sequence[int], free_peak_bytes: int) -> Line:
    """Peaks of training under a limit, which without one would take `free_peak_bytes`."""
    most = max(peaks_bytes)
    note = f"{_two(most, ' of ', limit_bytes)}; without a limit {gigabytes(free_peak_bytes)}"
    status = Status.OK if most <= limit_bytes else Status.FAILED
    if status is Status.OK and free_peak_bytes <= limit_bytes:
        status, note = Status.NOT_READ, f"{note}: it takes no more than the limit without one"
    return Line(
        name=LIMIT.name,
        title=LIMIT.title,
        status=status,
        value=most / limit_bytes - 1,
        most=0.0,
        note=note,
        samples={
            "limit_bytes": [limit_bytes],
            "peak_bytes": list(peaks_bytes),
            "free_peak_bytes": [free_peak_bytes],
        },
    )


def prediction(
    check: Check,
    predicted: tuple[int, int | None] | None,
    measured: tuple[int, int],
    backend: Backend,
) -> Line:
    """The estimate before the trial, None where there was none, and what the trial measured.

    Each is the minimum, which is judged, and what it takes where nothing limits it, which is not
    predicted for all backends.
    """
    minimum_bytes, takes_bytes = measured
    if predicted is None:
        return check.broken_off(f"there is no estimate for it; it needs {gigabytes(minimum_bytes)}")
    predicted_bytes, predicted_takes_bytes = predicted
    note = _two(predicted_bytes, " predicted, measured ", minimum_bytes)
    samples = {
        "predicted_bytes": [predicted_bytes],
        "minimum_bytes": [minimum_bytes],
        "takes_bytes": [takes_bytes],
    }
    if predicted_takes_bytes is not None:
        note += f"; takes {_two(predicted_takes_bytes, ' predicted, measured ', takes_bytes)}"
        samples["predicted_takes_bytes"] = [predicted_takes_bytes]
    off = predicted_bytes / minimum_bytes - 1
    return _within(check, off, _PREDICTION_SHARES[backend], note, **samples)


def footprint(readings: Sequence[tuple[int, int]], tool: str, backend: Backend) -> Line:
    """What the guard read of the worker, and `tool` of the system a moment later; in bytes."""
    if not readings:
        return FOOTPRINT.not_read(f"{tool} gives no reading here")
    off = statistics.median(guards / systems - 1 for guards, systems in readings)
    guards_bytes, systems_bytes = (list(each) for each in zip(*readings, strict=True))
    middle = _two(statistics.median(guards_bytes), " beside ", statistics.median(systems_bytes))
    return _within(
        FOOTPRINT,
        off,
        _FOOTPRINT_SHARES[backend],
        f"{middle} ({tool}), {len(readings)} readings",
        guard_bytes=guards_bytes,
        system_bytes=systems_bytes,
    )


def conditions(
    asleep_before_s: float | None, asleep_after_s: float | None, power: PowerTrace | None
) -> Line:
    """Whether the machine ran as usual, so that the other lines count.

    Seconds that it had slept before and after, and its power and heat; None where not known.
    """
    worst = power.worst if power else PowerState()
    hindrances = list(power.warnings) if power else []
    if worst.low_power_mode:
        hindrances.append("low power mode slows it down: switch it off")
    remarks = [f"on {worst.source}"] if worst.source else []
    if worst.thermal is not None:
        remarks.append(f"thermal state {worst.thermal}")
    note = "; ".join(dict.fromkeys((*hindrances, *remarks))) or "power and heat are not known"
    asleep_s = None
    if asleep_before_s is not None and asleep_after_s is not None:
        asleep_s = max(0.0, asleep_after_s - asleep_before_s)
    if asleep_s is None and power is None:
        return CONDITIONS.not_read(note)
    is_bad = bool(hindrances) or (asleep_s or 0.0) > LONGEST_SLEEP_S
    return Line(
        name=CONDITIONS.name,
        title=CONDITIONS.title,
        status=Status.FAILED if is_bad else Status.OK,
        value=asleep_s,
        most=LONGEST_SLEEP_S,
        unit="seconds asleep",
        note=note,
    )


def _within(check: Check, off: float, share: float, note: str, **samples: Sequence[float]) -> Line:
    return Line(
        name=check.name,
        title=check.title,
        status=Status.OK if abs(off) <= share else Status.FAILED,
        value=off,
        least=-share,
        most=share,
        note=note,
        samples={name: list(each) for name, each in samples.items()},
    )


def _two(one_bytes: float, word: str, other_bytes: float) -> str:
    shown = same_memory([one_bytes, other_bytes])
    return f"{shown(one_bytes)}{word}{shown(other_bytes)}"
