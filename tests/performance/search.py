"""How many trials does the search need, and how near to the best does it come?

python tests/performance/search.py [FILE...] [--seeds 3] [--budgets 20] [--scenario NAME...]

Each FILE is a profile with complete rows (tests/data/matrix_*.json where none is given); matrices
made by formulas come in addition. For every budget and seed the search starts from nothing; the
recorded values are what a trial measures, and what the predictions learn from. Regret is what is
missing of the best score, or of the most tokens per second, among the configurations that fit by
the recorded values. The time of a choice is processor time without that of the first
estimates, as other programs may use the machine too.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import math
import statistics
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from pytest_yourai.core.axes import recipe_of
from pytest_yourai.core.config import SAFETY_MARGIN, LoraConfig, Objective, Quantization
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.core.ranking import best
from pytest_yourai.core.results import TrialResult
from pytest_yourai.estimate.predictor import Prediction, Predictor
from pytest_yourai.models.source import ModelSource
from pytest_yourai.store.recording import read_recording
from pytest_yourai.sweep.search.strategy import choose_next, most_trials

from _common import ROOT, table, verdict

sys.path.insert(0, str(ROOT / "tests"))
from support.made_predictor import MadePredictor

ALLOWED_REGRET = {Objective.SCORE: 0.0, Objective.TOKENS_PER_SECOND: 0.03}
ALLOWED_CHOICE_S = 0.010
CRASHING = 0.10
SPEED_OUTLIERS = (0.5, 1.5)
LUMPS = 0.02
NEED_OUTLIERS = (0.8, 0.9, 1.1, 1.2)


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """What a trial of one configuration measures: bytes, seconds of a step."""

    need_bytes: float
    step_s: float
    crashes: bool = False

    def result(self, config: LoraConfig, limit_bytes: int) -> TrialResult:
        if self.crashes:
            return TrialResult("matrix", config, Outcome.CRASHED, "made to crash")
        need_bytes = round(self.need_bytes)
        if need_bytes * SAFETY_MARGIN > limit_bytes:
            return TrialResult(
                "matrix", config, Outcome.OVER_BUDGET, "over", minimum_memory_bytes=need_bytes
            )
        return TrialResult(
            "matrix",
            config,
            Outcome.OK,
            step_times_s=(self.step_s,),
            step_tokens=(config.batch_size * (config.max_seq_length - 1),),
            minimum_memory_bytes=need_bytes,
        )


Matrix = dict[LoraConfig, Row]


@dataclasses.dataclass(frozen=True, slots=True)
class Scenario:
    """`bias` and `jitter` of the estimate are half widths; None: there is no estimate.

    `claimed` is the error it is said to have. `calibrated` follows the trials by one factor, the
    others by the program's own calibration; `own` is the program's own estimate as well, of files
    whose model it knows.
    """

    name: str
    bias: float | None = 0.05
    jitter: float = 0.02
    claimed: float = 0.03
    calibrated: bool = False
    own: bool = False
    crashing: float = 0.0
    need_outliers: tuple[float, ...] = (1.0,)
    speed_outliers: tuple[float, ...] = (1.0,)


SCENARIOS = (
    Scenario("own estimate", own=True),
    Scenario("own, need outlier", own=True, need_outliers=NEED_OUTLIERS),
    Scenario("own, time outlier", own=True, speed_outliers=SPEED_OUTLIERS),
    Scenario("own, crashes", own=True, crashing=CRASHING),
    Scenario("plain"),
    Scenario("exact", bias=0.0, jitter=0.005),
    Scenario("bias 10 %", bias=0.10),
    Scenario("calibrated", calibrated=True),
    Scenario("rough estimate", bias=0.30, jitter=0.05, claimed=0.30),
    Scenario("no estimate", bias=None),
    Scenario("need outlier", need_outliers=NEED_OUTLIERS),
    Scenario("calibrated, need outlier", calibrated=True, need_outliers=NEED_OUTLIERS),
    Scenario("time outlier", speed_outliers=SPEED_OUTLIERS),
    Scenario("crashes", crashing=CRASHING),
)


class ScaledPredictor(MadePredictor):
    """Corrected by one factor: the median of what was measured over what was estimated."""

    def __init__(self, minima: Mapping[LoraConfig, float], relative_error: float) -> None:
        super().__init__(minima, relative_error)
        self._relative_error = relative_error

    def predict(self, config: LoraConfig, without: LoraConfig | None = None) -> Prediction | None:
        if (estimate := self.estimates.get(config)) is None:
            return None
        ratios = [
            each.minimum_bytes / each.estimate.minimum_bytes
            for measured, each in self.observations.items()
            if measured != without
        ]
        minimum = round(estimate.minimum_bytes * (statistics.median(ratios) if ratios else 1.0))
        return Prediction(minimum, minimum, estimate.weights_bytes, self._relative_error)


def new_predictor(
    matrix: Matrix, own: Predictor | None, scenario: Scenario, random: np.random.Generator
) -> Predictor | MadePredictor:
    """One that has learned nothing yet."""
    if scenario.own and own is not None:
        return Predictor(own.source, own.backend, is_enabled=own.is_enabled)
    made = ScaledPredictor if scenario.calibrated else MadePredictor
    return made(estimated(matrix, scenario, random), scenario.claimed)


def estimated(
    matrix: Mapping[LoraConfig, Row], scenario: Scenario, random: np.random.Generator
) -> dict[LoraConfig, float]:
    """The recorded minima, off by a common bias and by jitter. Bytes."""
    if scenario.bias is None:
        return {}
    common = 1 + random.uniform(-scenario.bias, scenario.bias)
    return {
        config: row.need_bytes * common * (1 + random.uniform(-scenario.jitter, scenario.jitter))
        for config, row in matrix.items()
    }


@dataclasses.dataclass(frozen=True, slots=True)
class Search:
    """One search from nothing to its end."""

    trials: int
    regret: float
    choices_s: tuple[float, ...]
    reason: str


def own_predictor(path: Path) -> Predictor:
    """The program's own predictor for a recorded matrix; off where that has no minima."""
    recording = read_recording(path, usual_seq_length=512)
    floors = json.loads((ROOT / "tests" / "data" / "floors_h200.json").read_text(encoding="utf-8"))
    source = ModelSource(
        name=recording.model,
        architecture=floors["architectures"].get(recording.model, {}),
        folder=None,
        synthetic=True,
        quantization=Quantization(4),
        lora_keys=("qkvo",),
    )
    return Predictor(source, "cuda", is_enabled=recording.has_minima)


def search(
    matrix: Matrix,
    own: Predictor | None,
    limit_bytes: int,
    objective: Objective,
    scenario: Scenario,
    seed: int,
) -> Search:
    """An outlier strikes one of the first three trials, and then is what is recorded."""
    random = np.random.default_rng(seed)
    recorded = dict(matrix)
    predictor = new_predictor(recorded, own, scenario, random)
    for config, row in matrix.items():
        if random.random() < scenario.crashing:
            recorded[config] = dataclasses.replace(row, crashes=True)
    struck = int(random.integers(3))
    off_need = random.choice(scenario.need_outliers)
    off_time = random.choice(scenario.speed_outliers)
    results: dict[LoraConfig, TrialResult] = {}
    times = []
    for config in matrix:
        predictor.predict(config)
    while True:
        start = time.thread_time()
        choice = choose_next(list(matrix), predictor, results, limit_bytes, objective)
        times.append(time.thread_time() - start)
        if choice.config is None:
            break
        if len(results) == struck:
            row = recorded[choice.config]
            recorded[choice.config] = dataclasses.replace(
                row, need_bytes=row.need_bytes * off_need, step_s=row.step_s * off_time
            )
        results[choice.config] = recorded[choice.config].result(choice.config, limit_bytes)
        predictor.learn(results[choice.config])
    everything = (row.result(config, limit_bytes) for config, row in recorded.items())
    top = value(best(everything, objective), objective)
    regret = 1 - value(best(results.values(), objective), objective) / top if top else 0.0
    return Search(len(results), regret, tuple(times), choice.reason)


def value(result: TrialResult | None, objective: Objective) -> float:
    if result is None:
        return 0.0
    if objective is Objective.SCORE:
        return result.config.throughput_score
    return result.tokens_per_second or 0.0


def read_matrix(path: Path) -> Matrix:
    """The rows that ran; a file without minima gives its peaks for them."""
    profile = json.loads(path.read_text(encoding="utf-8"))
    found = {}
    for row in profile["all_results"]:
        need = row.get("minimum_memory_bytes") or row["peak_memory_mb"] * 1e6
        config = LoraConfig(
            row["batch_size"],
            row["lora_rank"],
            row["lora_layers"],
            row.get("max_seq_length") or profile["seq_length"],
            bool(row.get("grad_checkpoint")),
        )
        if row["success"]:
            found[config] = Row(need, row["step_time_ms"] / 1e3)
    return found


@dataclasses.dataclass(frozen=True, slots=True)
class Machine:
    """Times in seconds: a step, a token through the model, a token back through a layer."""

    step_s: float
    token_s: float
    layer_token_s: float
    rank_token_s: float
    layer_s: float
    noise: float
    crowded: float = 0.0


MACHINES = {
    "cpu-like": Machine(0.02, 2e-4, 8e-6, 4e-8, 1e-3, 0.02),
    "apple-like": Machine(0.05, 3e-4, 1.2e-5, 3e-8, 1e-3, 0.03, crowded=0.3),
    "gpu-like": Machine(0.03, 3e-5, 1.5e-6, 2e-9, 5e-4, 0.01),
}


def made_matrix(machine: Machine, seed: int, lengths: tuple[int, ...] = (256,)) -> Matrix:
    """5 × 4 × 4 by a formula; a crowded machine slows down towards its largest configurations.

    Minimum memory is lumpy by 2 %, but no smaller configuration needs more than a larger one.
    """
    random = np.random.default_rng(seed)
    matrix: Matrix = {}
    for batch, rank, layers, length in itertools.product(
        (1, 2, 4, 6, 8), (32, 64, 128, 256), (8, 16, 24, 32), lengths
    ):
        at, tokens = LoraConfig(batch, rank, layers, length), batch * length
        need = 4.6e9 + 1.1e6 * tokens + 4e4 * tokens * layers + 9e4 * layers * rank
        need += 12.0 * tokens * layers * rank
        need *= math.exp(random.normal(0, LUMPS))
        need = max(
            [
                need,
                *(
                    row.need_bytes
                    for each, row in matrix.items()
                    if at.needs_at_least_as_much_as(each)
                ),
            ]
        )
        seconds = machine.step_s + tokens * machine.token_s + layers * machine.layer_s
        seconds += tokens * layers * (machine.layer_token_s + rank * machine.rank_token_s)
        seconds *= 1 + machine.crowded * max(0.0, need / 1e10 - 0.8)
        seconds *= math.exp(random.normal(0, machine.noise))
        matrix[at] = Row(need, seconds)
    return matrix


def quick(matrix: Matrix) -> Matrix:
    """The 12 configurations of a quick matrix."""
    return {
        config: row
        for config, row in matrix.items()
        if config.batch_size in {1, 2, 4}
        and config.rank in {64, 128}
        and config.num_layers in {16, max(each.num_layers for each in matrix)}
    }


def budgets(matrix: Matrix, count: int) -> Iterator[int]:
    """From where nothing fits to where everything does, evenly on a logarithmic scale."""
    needs = [row.need_bytes * SAFETY_MARGIN for row in matrix.values()]
    for part in np.linspace(0, 1, count):
        yield round(0.98 * min(needs) * (1.05 * max(needs) / min(needs)) ** part)


def judge(
    name: str,
    matrix: Matrix,
    own: Predictor | None,
    scenario: Scenario,
    arguments: argparse.Namespace,
) -> Iterator[list[str]]:
    for objective in Objective:
        found = [
            search(matrix, own, limit, objective, scenario, 1000 * seed + number)
            for number, limit in enumerate(budgets(matrix, arguments.budgets))
            for seed in range(arguments.seeds)
        ]
        allowed = most_trials(len(matrix), len(set(map(recipe_of, matrix))))
        trials = [each.trials for each in found]
        regrets = [each.regret for each in found]
        missed = sum(each > ALLOWED_REGRET[objective] + 1e-9 for each in regrets)
        choice_s = statistics.median([t for each in found for t in each.choices_s])
        longest_s = max(t for each in found for t in each.choices_s)
        yield [
            f"{name} ({len(matrix)})",
            scenario.name,
            objective.value.split("_")[0],
            f"{statistics.mean(trials):.1f}",
            str(max(trials)),
            verdict(max(trials) <= allowed),
            f"{statistics.mean(regrets):.2%}",
            f"{max(regrets):.1%}",
            f"{missed}/{len(found)}",
            verdict(not missed),
            f"{choice_s * 1e3:.1f}",
            f"{longest_s * 1e3:.1f}",
            verdict(longest_s <= ALLOWED_CHOICE_S),
        ]


HEADER = (
    *("matrix", "estimate", "best by", "trials", "most", "", "regret", "worst", "missed", ""),
    *("choice ms", "longest", f"≤ {ALLOWED_CHOICE_S * 1e3:.0f}"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--budgets", type=int, default=20)
    parser.add_argument("--scenario", nargs="*", default=[each.name for each in SCENARIOS])
    arguments = parser.parse_args()
    files = arguments.files or sorted((ROOT / "tests" / "data").glob("matrix_*.json"))
    matrices = {path.stem: read_matrix(path) for path in files}
    owns = {path.stem: own_predictor(path) for path in files}
    matrices |= {name: made_matrix(machine, 1) for name, machine in MACHINES.items()}
    matrices["two lengths"] = made_matrix(MACHINES["gpu-like"], 1, (256, 512))
    matrices |= {f"{name} quick": quick(each) for name, each in matrices.items()}
    rows: list[list[str]] = []
    for scenario in SCENARIOS:
        if scenario.name in arguments.scenario:
            for name, matrix in matrices.items():
                own = owns.get(name.removesuffix(" quick"))
                if own is not None or not scenario.own:
                    rows += judge(name, matrix, own, scenario, arguments)
    table(HEADER, rows)
    for what, column in (("trials", 5), ("regret", 9), ("time of a choice", 12)):
        missed = sum(row[column] == verdict(False) for row in rows)
        print(f"{what}: {verdict(not missed)} ({missed} of {len(rows)} lines missed)")


if __name__ == "__main__":
    main()
