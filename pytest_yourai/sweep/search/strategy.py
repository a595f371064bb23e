"""Choice of the next configuration, so that the best one is found in few trials.

`memory_model` gives the chance of each to fit, `speed_model` its speed. By score the next is the
highest that is likely to fit, until no higher one can; of equal scores longer rows are higher, then
those without checkpointing, which costs time. By speed it is the one that is likeliest to be
clearly faster than the fastest so far, until that is unlikely of all together, and the batch sizes
next to the fastest were measured.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pytest_yourai.core.axes import GRAD_CHECKPOINT, MAX_SEQ_LENGTH, recipe_of
from pytest_yourai.core.config import LoraConfig, Objective
from pytest_yourai.core.labels import ConfigLabels
from pytest_yourai.core.ranking import best, lightest_first, score_and_length
from pytest_yourai.core.results import TrialResult
from pytest_yourai.sweep.search.memory_model import FitChances, PredictsMinimum, fit_chances
from pytest_yourai.sweep.search.posterior import Posterior
from pytest_yourai.sweep.search.speed_model import is_no_faster, speed_posterior

_LIKELY = 0.4
"""Chance to fit below which a trial is run only if nothing likelier is left."""

_POSSIBLE = 0.005
"""Chance to fit below which no trial is run."""

_CLEARLY_FASTER = math.log(1.03)

_NEGLIGIBLE = 0.02
"""Chance that any other is clearly faster, below which the search by speed ends."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Configuration to run next, or None to stop, and the reason as a clause."""

    config: LoraConfig | None
    reason: str


def most_trials(count: int, recipes: int = 1) -> int:
    """Largest number of trials among `count` configurations if one fits: 6 of 12, 10 of 80.

    Each further recipe takes one, since they have speeds of their own.
    """
    return max(1, recipes) + int(1.5 * math.log2(max(count, 1)))


def choose_next(
    configs: Sequence[LoraConfig],
    predictor: PredictsMinimum,
    results: Mapping[LoraConfig, TrialResult],
    limit_bytes: int,
    objective: Objective,
    fixed: Collection[LoraConfig] = (),
) -> Choice:
    """Choose the next of `configs`, from nothing but the arguments.

    `results` are all known ones, trials that were not started included; a configuration that has
    one, or is in `fixed`, is never chosen. `predictor` has learned their minima.
    """
    own = lightest_first(set(configs))
    known = {each: result for each, result in results.items() if result.started or result.kept}
    points = own + lightest_first(set(known) - set(own))
    closed = {*results, *fixed}
    state = _State(
        points=points,
        rows=[row for row, each in enumerate(own) if each not in closed],
        measured=known,
        fit=fit_chances(points, predictor, known, limit_bytes) if points else _NOTHING,
        leader=best((known[each] for each in own if each in known), objective),
        failed=any(known[each].outcome.is_failure for each in own if each in known),
        trials=sum(not known[each].kept for each in own if each in known),
        allowed=most_trials(len(own), len(set(map(recipe_of, own)))),
        ties=_ties(own),
    )
    if not state.rows:
        return Choice(None, _all_known(state))
    return _by_score(state) if objective is Objective.SCORE else _by_speed(state)


@dataclass(frozen=True, slots=True)
class _State:
    """Data of one choice; `rows` are the points that may be chosen."""

    points: Sequence[LoraConfig]
    rows: Sequence[int]
    measured: Mapping[LoraConfig, TrialResult]
    fit: FitChances
    leader: TrialResult | None
    failed: bool
    trials: int
    allowed: int
    ties: str

    @property
    def is_spent(self) -> bool:
        """True if there is an answer, and no trial left to improve it."""
        return self.leader is not None and self.trials >= self.allowed


_NOTHING = FitChances(np.empty(0), np.empty(0, np.bool_), np.empty(0))


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
    """True if it is the best by score, provided that it fits."""
    return leader is None or _height(config) > _height(leader.config)


def _ties(configs: Iterable[LoraConfig]) -> str:
    """Tie-breakers between equal scores, in words, as far as `configs` differ in them."""
    naming = ConfigLabels.of(configs)
    parts = [
        *(["with longer rows"] if MAX_SEQ_LENGTH in naming.varying else []),
        *(["without checkpointing"] if GRAD_CHECKPOINT in naming.varying else []),
    ]
    return f" (or as high {' or '.join(parts)})" if parts else ""


def _is_late(state: _State) -> bool:
    """True if nothing has fitted so far and the next trial is the last but one allowed."""
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
    """Reasons against the points in `rows`, and against those with results."""
    parts = []
    if any(result.prunes_larger for result in state.measured.values()):
        parts.append("was measured over the budget, or is no smaller than one that was")
    over = [state.fit.needed[row] - 1 for row in rows if not state.fit.ruled_out[row]]
    if over:
        by = f" by {100 * min(over):.0f} % or more" if min(over) > 0 else ""
        parts.append(f"is predicted to be over the budget{by}")
    if state.failed:
        parts.append("failed for another reason")
    return ", or ".join(parts) or _NO_REASON


def _by_speed(state: _State) -> Choice:
    points, chances = state.points, state.fit.chances
    speeds = speed_posterior(points, state.measured)
    if state.leader is None:
        return _first_that_fits(state, speeds)
    log_speed = math.log(state.leader.tokens_per_second or 1e-9)
    faster = chances * speeds.chances_above(log_speed + _CLEARLY_FASTER)
    leanest = _leanest(points, state.rows)
    chance = min(sum(float(faster[row]) for row in leanest), 1.0)
    beside = _unseen_beside(state)
    if chance < _NEGLIGIBLE and beside is not None and not state.is_spent:
        return Choice(
            points[beside], "its batch size is next to that of the fastest, and was not measured"
        )
    if chance < _NEGLIGIBLE:
        return Choice(None, "no other configuration is predicted to be more than 3 % faster")
    if state.is_spent:
        return Choice(
            None,
            f"{state.trials} trials are enough: the chance that another one is more than 3 % "
            f"faster is {chance:.0%} at most",
        )
    row = max(leanest, key=lambda each: float(faster[each]))
    return Choice(
        points[row], f"it fits and is more than 3 % faster with a chance of {faster[row]:.0%}"
    )


def _first_that_fits(state: _State, speeds: Posterior) -> Choice:
    points, chances = state.points, state.fit.chances
    left = [row for row in state.rows if chances[row] > _POSSIBLE]
    if not left:
        return Choice(None, f"nothing fits: every configuration {_why_not(state, state.rows)}")
    if _is_late(state):
        row = max(left, key=lambda each: float(chances[each]))
        return Choice(points[row], "it is the likeliest to fit, and nothing has fitted so far")
    relative = np.exp(speeds.expected() - speeds.expected().max())
    row = max(left, key=lambda each: float(chances[each] * relative[each]))
    return Choice(points[row], "it is likely to fit and to be among the fastest")


def _unseen_beside(state: _State) -> int | None:
    """Smallest likely to fit at a batch size next to the leader's that has no speed yet."""
    if state.leader is None:
        return None
    leader = state.leader.config

    def like(each: LoraConfig) -> LoraConfig:
        """The leader with the batch size of `each`, whose accumulation may follow from that."""
        return dataclasses.replace(
            leader,
            batch_size=each.batch_size,
            grad_accumulation_steps=each.grad_accumulation_steps,
        )

    comparable = [each for each in state.points if is_no_faster(like(each), each)]
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
    """Those of `rows` for which no other does less work for as many tokens."""
    return [
        row
        for row in rows
        if not any(other != row and is_no_faster(points[row], points[other]) for other in rows)
    ]
