"""Results of all stages of a run, and the documents built from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pytest_yourai.core.answers import find_answers, headlined
from pytest_yourai.core.ranking import best
from pytest_yourai.core.results import TrialResult
from pytest_yourai.core.soak_results import SoakResult
from pytest_yourai.core.verdict import Verdict
from pytest_yourai.machine import environment
from pytest_yourai.models.identity import digest
from pytest_yourai.plan.stages import RunPlan, Stage
from pytest_yourai.plan.sweep_plan import profile_identity
from pytest_yourai.store.benchmark_results import ModelResult, build_benchmark_results, recommended
from pytest_yourai.store.data_rows import data_object
from pytest_yourai.store.merging import Rows, can_be_merged, merged, merged_entries, newest
from pytest_yourai.store.mlx_lm_config import LoraConfigFile
from pytest_yourai.store.profile import build_profile
from pytest_yourai.store.recipe_writing import GivenRecipe
from pytest_yourai.store.stored_profile import StoredProfile
from pytest_yourai.sweep.confirming import Confirmed
from pytest_yourai.sweep.offers import shorter_rows_of
from pytest_yourai.sweep.reports import ItemCounts, TrialReport
from pytest_yourai.sweep.stage_info import StageInfo
from pytest_yourai.sweep.stage_results import StageResults


class RunResults:
    """Collects reports in the process that the user started."""

    def __init__(self, setup: RunPlan) -> None:
        self._setup = setup
        self.stages: dict[Stage, StageResults] = {}
        self.journal_problem: str | None = None
        self._all_selected = 0
        self.is_soaking = False
        """True while a soak runs."""
        self._before: StoredProfile | None = None
        self._models_before: Mapping[str, Any] | None = None

    def merge(self, before: StoredProfile) -> bool:
        """Let the documents have what `before` has beyond this run; False if it is of another."""
        found = _first(self.stages.values()) if self._setup.has_one_profile else None
        if found is None or found.opened is None or before.model != found.stage.name:
            return False
        limit_bytes = found.opened.context.budget.limit_bytes
        if not can_be_merged(before, found.opened.identity, limit_bytes):
            return False
        self._before = before
        return True

    def merge_models(self, before: Mapping[str, Any]) -> bool:
        """As `merge`, for the benchmark results `before` of several models."""
        identity = self._identity_of_models
        if identity is None or before.get("identity") != identity:
            return False
        self._models_before = before
        return True

    @property
    def _identity_of_models(self) -> str | None:
        """The identity of a run of several models; None if no worker has described a machine."""
        where = _first(each.context for each in self.stages.values())
        if where is None or self._setup.has_one_profile:
            return None
        return digest(
            [
                [each.asked_as, each.is_check, profile_identity(each.setup.plan, where.device)]
                for each in self._setup.stages
                if each.setup is not None
            ]
        )

    @property
    def merged_rows(self) -> Rows | None:
        """All rows of the one profile; None for benchmark results."""
        return self.rows(next(iter(self.stages.values()))) if self._before else None

    def best_of(self, rows: Rows) -> TrialResult | None:
        """The best of all rows by the objective that was asked for."""
        return best(rows.remaining, self._setup.options.objective)

    def rows(self, found: StageResults) -> Rows:
        """All rows of the profile of a stage, those of earlier runs included."""
        return merged(
            self._before, Rows(tuple(found.results), newest(found.others), tuple(found.soaks))
        )

    def add_stage(self, stage: Stage, opened: StageInfo, counts: ItemCounts) -> bool:
        """Add a stage whose model was inspected; False if it is known already."""
        found = self._stage(stage)
        if found.opened is not None:
            return False
        found.opened, found.selected = opened, counts.of_stage
        return True

    def _stage(self, stage: Stage) -> StageResults:
        return self.stages.setdefault(stage, StageResults(stage))

    def add(self, reported: TrialReport) -> StageResults:
        """Add a trial, again where more is known of it; returns the results of its stage so far."""
        found = self._stage(self._setup.stage_called(reported.model, is_check=reported.is_check))
        found.selected = reported.counts.of_stage
        found.opened = reported.opened or found.opened
        found.stopped = reported.stopped
        configs = [each.config for each in found.results]
        if reported.result.config in configs:
            found.results[configs.index(reported.result.config)] = reported.result
        else:
            found.results.append(reported.result)
        self.journal_problem = reported.journal_problem
        self._all_selected = reported.counts.of_all
        return found

    def add_confirmation(self, confirmed: Confirmed) -> None:
        """Take in what measuring again has shown, after the last trial."""
        stage = self._setup.stage_called(confirmed.model, is_check=confirmed.is_check)
        found = self._stage(stage)
        found.results[:] = confirmed.results
        found.others.extend(confirmed.others)
        found.verdicts = confirmed.verdicts

    @property
    def verdicts(self) -> dict[str, tuple[Verdict, ...]]:
        """What measuring again says of regressions, of each model."""
        return {stage.name: each.verdicts for stage, each in self.stages.items() if each.verdicts}

    def add_soak(self, stage: Stage, soak: SoakResult) -> None:
        """Add a soak that has ended."""
        self._stage(stage).soaks.append(soak)
        self.is_soaking = False

    @property
    def results(self) -> list[TrialResult]:
        return [result for found in self.stages.values() for result in found.results]

    @property
    def has_begun_several(self) -> bool:
        """True if one of several models was inspected: that none fits is an answer, too."""
        return bool(self.stages) and not self._setup.has_one_profile

    @property
    def has_success(self) -> bool:
        """True if a configuration is ok that no soak has ruled out."""
        return any(each.success for found in self.stages.values() for each in found.remaining)

    def document(self) -> dict[str, Any]:
        """The profile of a run of one model, else the benchmark results."""
        if self._setup.has_one_profile:
            [found] = self.stages.values()
            return self._profile(found) or {}
        where = _first(each.context for each in self.stages.values())
        found_models = build_benchmark_results(
            self.models(),
            complete=self.is_complete,
            memory_limit_bytes=(
                where.budget.limit_bytes if where else self._setup.options.memory_limit_bytes
            ),
            environment=environment.describe(where.device) if where else None,
            identity=self._identity_of_models,
        )
        if self._models_before is None:
            return found_models
        planned = dict.fromkeys(stage.asked_as for stage in self._setup.stages)
        return merged_entries(self._models_before, found_models, planned)

    @property
    def is_complete(self) -> bool:
        """True if all selected items have ended; the first result has their number."""
        return 0 < self._all_selected <= len(self.results)

    def models(self) -> list[ModelResult]:
        """The results of each model, smallest first."""
        having = [self.stages.get(stage) for stage in self._setup.stages]
        names = dict.fromkeys(each.stage.name for each in having if each and each.results)
        found = [self._model(name) for name in names]
        return sorted(found, key=lambda each: (each.parameters is None, each.parameters or 0))

    def _model(self, name: str) -> ModelResult:
        stages = [each for each in self.stages.values() if each.stage.name == name and each.results]
        check = _first(each.results[0] for each in stages if each.stage.is_check)
        sweep = _first(each for each in stages if not each.stage.is_check)
        opened = _first(each.opened for each in stages)
        where = opened.context if opened else None
        optimum = self.optimum(sweep) if sweep else None
        return ModelResult(
            name=name,
            preset=stages[0].stage.asked_as,
            model_name=stages[0].stage.model.title,
            parameters=_first(each.parameters for each in stages),
            memory_limit_bytes=where.budget.limit_bytes if where else None,
            weights=opened.weights if opened else None,
            check=check,
            optimum=optimum,
            is_soaked_out=bool(sweep and sweep.soaks and not optimum),
            profile=self._profile(sweep) if sweep else None,
            data=data_object(
                where.inspection.data if where else None,
                [check] if check else stages[0].results,
                self._setup.options.objective,
            ),
        )

    def optimum(self, found: StageResults) -> TrialResult | None:
        return best(found.remaining, self._setup.options.objective)

    def headline(self, found: StageResults) -> TrialResult | None:
        """The answer of this run that comes first."""
        return self.headline_of(Rows(tuple(found.results), (), tuple(found.soaks)))

    def headline_of(self, rows: Rows) -> TrialResult | None:
        """The answer among all rows that comes first."""
        objective = self._setup.options.objective
        return headlined(find_answers(rows.remaining), rows.results, objective)

    def recommended_sweep(self) -> StageResults | None:
        """The sweep of the recommended model; None if there is none, or it was not swept."""
        swept = [found for found in self.stages.values() if not found.stage.is_check]
        if self._setup.has_one_profile:
            return next(iter(swept), None)
        model = recommended(self.models())
        return next((each for each in swept if model and each.stage.asked_as == model.preset), None)

    def lora_config(self, name: str) -> str | None:
        """The text of the file `name` for mlx-lm; None without an optimum."""
        found = self.recommended_sweep()
        optimum = found and self.headline_of(self.rows(found))
        if not (found and optimum and found.opened and found.stage.setup):
            return None
        opened, setup = found.opened, found.stage.setup
        where = opened.context
        return LoraConfigFile(
            name=name,
            model=setup.model,
            weights=opened.weights,
            optimum=optimum,
            device=where.device,
            version=environment.versions().get("pytest-yourai", "unknown"),
            memory_limit_bytes=optimum.memory_limit_bytes or where.budget.limit_bytes,
            lora_keys=where.inspection.lora_keys.get(optimum.config.lora_keys, ()),
            recipe=setup.plan.recipe,
            data=self._setup.options.data,
            convert_to=opened.quantized_on_load,
            replay=setup.plan.settings.replay,
            trust_remote_code=self._setup.options.trust_remote_code,
            given=self._given_recipe(found.stage),
        ).text()

    def _given_recipe(self, stage: Stage) -> GivenRecipe | None:
        file = self._setup.options.recipe_file
        if file is None:
            return None
        # The name of a preset means nothing to mlx-lm.
        has_model = file.model == stage.asked_as and stage.model.preset is None
        return GivenRecipe(
            text=file.text, has_model=has_model, has_data=self._setup.options.has_data_of_recipe
        )

    def _profile(self, found: StageResults) -> dict[str, Any] | None:
        opened, objective = found.opened, self._setup.options.objective
        if opened is None:
            return None
        rows = self.rows(found)
        return build_profile(
            model=found.stage.name,
            results=rows.results,
            complete=self._is_whole(found, rows),
            objective=objective,
            memory_limit_bytes=found.results[-1].memory_limit_bytes
            or opened.context.budget.limit_bytes,
            settings=opened.settings,
            environment=environment.describe(opened.context.device),
            data=data_object(
                opened.context.inspection.data,
                rows.remaining,
                objective,
                shorter_rows_of(found, rows.results, self.headline_of(rows)),
            ),
            soaks=rows.soaks,
            others=rows.others,
            identity=opened.identity or None,
            verdicts=found.verdicts,
        )

    def _is_whole(self, found: StageResults, rows: Rows) -> bool:
        """True if nothing is missing: of what was selected, or with earlier rows of the matrix."""
        if self._before is None:
            return found.is_complete
        planned = found.stage.setup.plan.configs if found.stage.setup else ()
        return self._before.complete or set(planned) <= {each.config for each in rows.results}


_T = TypeVar("_T")


def _first(values: Iterable[_T | None]) -> _T | None:
    return next((each for each in values if each is not None), None)
