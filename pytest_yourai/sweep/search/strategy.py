"""Which configuration to measure next, so that the best one is found in few trials.

After each trial `fit` judges what fits, and `pace` what is fast. By score the next is the highest
that is likely to fit, until no higher one can; of equal scores longer rows are higher, then those
without checkpointing, which costs time. By speed it is the one that is likeliest to be clearly
faster than the fastest so far, until that is unlikely of all together, and the batch sizes next to
the fastest were measured.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pytest_yourai.core.config import LoraConfig, Objective
from pytest_yourai.core.labels import ConfigLabels
from pytest_yourai.core.ranking import best, lightest_first, score_and_length
from pytest_yourai.core.results import TrialResult
from pytest_yourai.sweep.search.memory_model import Fit, Predicted, judge_fit
from pytest_yourai.sweep.search.speed_model import Pace, is_no_faster, judge_pace

__all__ = ["Choice", "Predicted", "choose_next", "most_trials"]

_LIKELY = 0.4
"""Chance to fit below which a trial is spent only where nothing likelier is left to try."""

_POSSIBLE = 0.005
"""Chance to fit below which no trial is spent."""

_CLEARLY_FASTER = math.log(1.03)

_DOUBT = 0.02
"""Chance that any of the others is clearly faster, below which the search by speed ends."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What to run next, or None to stop, and why, as one part of a sentence."""

    config: LoraConfig | None
    reason: str


def most_trials(count: int) -> int:
    """How many of `count` configurations may be run once one fits: 6 of 12, 10 of 80."""
    return 1 + int(1.5 * math.log2(max(count, 1)))


def choose_next(
    configs: Sequence[LoraConfig],
    predicted: Mapping[LoraConfig, Predicted],
    results: Mapping[LoraConfig, TrialResult],
    limit_bytes: int,
    objective: Objective,
    fixed: Collection[LoraConfig] = (),
) -> Choice:
    """What to run next out of `configs`; it depends on nothing but the arguments.

    `results` are all that are known, not started ones included; what has one, or is in `fixed`, is
    never chosen. `predicted` may lack configurations, or be empty.
    """
    own = lightest_first(set(configs))
    known = {each: result for each, result in results.items() if result.started or result.kept}
    points = own + lightest_first(set(known) - set(own))
    closed = {*results, *fixed}
    state = _State(
        points=points,
        rows=[row for row, each in enumerate(own) if each not in closed],
        measured=known,
        fit=judge_fit(points, predicted, known, limit_bytes) if points else _NOTHING,
        leader=best((known[each] for each in own if each in known), objective),
        failed=any(known[each].outcome.is_failure for each in own if each in known),
        trials=sum(not known[each].kept for each in own if each in known),
        allowed=most_trials(len(own)),
        ties=_ties(own),
    )
    if not state.rows:
        return Choice(None, _all_known(state))
    return _by_score(state) if objective is Objective.SCORE else _by_speed(state)


@dataclass(frozen=True, slots=True)
class _State:
    """What one choice is made from; `rows` are the points that may be chosen."""

    points: Sequence[LoraConfig]
    rows: Sequence[int]
    measured: Mapping[LoraConfig, TrialResult]
    fit: Fit
    leader: TrialResult | None
    failed: bool
    trials: int
    allowed: int
    ties: str

    @property
    def is_spent(self) -> bool:
        """Whether there is an answer, and no trial left to better it."""
        return self.leader is not None and self.trials >= self.allowed


_NOTHING = Fit(np.empty(0), np.empty(0, np.bool_), np.empty(0))


def _all_known(state: _State) -> str:
    if not state.points:
        return "there is no configuration"
    return "every configuration has a result" + ("" if state.leader else ", and none fits")


def _by_score(state: _State) -> Choice:
    points, chances = state.points, state.fit.chances
    higher = [row for row in state.rows if _is_higher(points[row], state.leader)]
    left = [row for row in higher if chances[row] > _POSSIBLE]
    if not left:
        return Choice(None, _score_is_found(state, higher))
    highest = max(chances[row] for row in left)
    if state.is_spent:
        return Choice(
            None,
            f"{state.trials} trials are enough: the chance that a higher score{state.ties} fits "
            f"is {highest:.0%} at most for each of {len(left)} configurations",
        )
    if highest >= _LIKELY and not _is_late(state):
        likely = [row for row in left if chances[row] >= _LIKELY]
        row = max(likely, key=lambda each: (_height(points[each]), chances[each]))
        return Choice(points[row], "it has the highest score that is likely to fit")
    row = max(left, key=lambda each: (chances[each], _height(points[each])))
    would_be = f"higher{state.ties}" if state.leader else "the first to fit"
    return Choice(
        points[row],
        f"its score would be {would_be}, and it fits with a chance of {chances[row]:.0%}",
    )


def _height(config: LoraConfig) -> tuple[int, int, bool]:
    return *score_and_length(config), not config.grad_checkpoint


def _is_higher(config: LoraConfig, leader: TrialResult | None) -> bool:
    """Whether it would be the best by score, if it fits."""
    return leader is None or _height(config) > _height(leader.config)


def _ties(configs: Iterable[LoraConfig]) -> str:
    """What else counts as a higher score, in words, where `configs` differ in it."""
    naming = ConfigLabels.of(configs)
    parts = [
        *(["with longer rows"] if naming.has_lengths else []),
        *(["without checkpointing"] if naming.has_checkpointing else []),
    ]
    return f" (or as high {' or '.join(parts)})" if parts else ""


def _is_late(state: _State) -> bool:
    """Whether so many trials gave no answer that any answer is better than the best."""
    return state.leader is None and state.trials >= state.allowed - 1


def _score_is_found(state: _State, higher: Sequence[int]) -> str:
    why = _why_not(state, higher)
    if state.leader is None:
        return f"nothing fits: every configuration {why}"
    if not higher and why == _NO_REASON:
        return f"the best score is found: none is higher{state.ties}"
    return f"the best score is found: everything with a higher score{state.ties} {why}"


_NO_REASON = "has a result"


def _why_not(state: _State, rows: Iterable[int]) -> str:
    """What speaks against the points in `rows`, and against those with results."""
    parts = []
    if any(result.prunes_larger for result in state.measured.values()):
        parts.append("was measured over the budget, or is no smaller than one that was")
    over = [state.fit.needed[row] - 1 for row in rows if not state.fit.ruled_out[row]]
    if over:
        by = f" by {min(over):.0%} or more" if min(over) > 0 else ""
        parts.append(f"is predicted to be over the budget{by}")
    if state.failed:
        parts.append("failed for another reason")
    return ", or ".join(parts) or _NO_REASON


def _by_speed(state: _State) -> Choice:
    points, chances = state.points, state.fit.chances
    pace = judge_pace(points, state.measured)
    if state.leader is None:
        return _first_that_fits(state, pace)
    log_speed = math.log(state.leader.tokens_per_second or 1e-9)
    faster = chances * pace.chances_above(log_speed + _CLEARLY_FASTER)
    leanest = _leanest(points, state.rows)
    doubt = min(sum(float(faster[row]) for row in leanest), 1.0)
    beside = _unseen_beside(state)
    if doubt < _DOUBT and beside is not None and not state.is_spent:
        return Choice(
            points[beside], "its batch size is next to that of the fastest, and was not measured"
        )
    if doubt < _DOUBT:
        return Choice(None, "no other configuration is predicted to be more than 3 % faster")
    if state.is_spent:
        return Choice(
            None,
            f"{state.trials} trials are enough: the chance that another one is more than 3 % "
            f"faster is {doubt:.0%}",
        )
    row = max(leanest, key=lambda each: float(faster[each]))
    return Choice(
        points[row], f"it fits and is more than 3 % faster with a chance of {faster[row]:.0%}"
    )


def _first_that_fits(state: _State, pace: Pace) -> Choice:
    points, chances = state.points, state.fit.chances
    left = [row for row in state.rows if chances[row] > _POSSIBLE]
    if not left:
        return Choice(None, f"nothing fits: every configuration {_why_not(state, state.rows)}")
    if _is_late(state):
        row = max(left, key=lambda each: float(chances[each]))
        return Choice(points[row], "it is the likeliest to fit, and nothing has fitted so far")
    speeds = np.exp(pace.expected() - pace.expected().max())
    row = max(left, key=lambda each: float(chances[each] * speeds[each]))
    return Choice(points[row], "it is likely to fit and to be among the fastest")


def _unseen_beside(state: _State) -> int | None:
    """The leanest likely to fit at a batch size next to the leader's that has no speed yet."""
    if state.leader is None:
        return None
    leader = state.leader.config

    def at(batch_size: int) -> LoraConfig:
        return dataclasses.replace(leader, batch_size=batch_size)

    comparable = [each for each in state.points if is_no_faster(at(each.batch_size), each)]
    sizes = {each.batch_size for each in comparable}
    seen = {each.batch_size for each in comparable if each in state.measured}
    near = {
        max((size for size in sizes if size < leader.batch_size), default=0),
        min((size for size in sizes if size > leader.batch_size), default=0),
    }
    likely = [
        row
        for row in state.rows
        if state.points[row] in comparable
        and state.points[row].batch_size in near - seen
        and state.fit.chances[row] >= _LIKELY
    ]
    return min(likely, key=lambda row: state.points[row].throughput_score, default=None)


def _leanest(points: Sequence[LoraConfig], rows: Sequence[int]) -> list[int]:
    """Those of `rows` that no other is as fast as by doing less for as many tokens."""
    return [
        row
        for row in rows
        if not any(other != row and is_no_faster(points[row], points[other]) for other in rows)
    ]
