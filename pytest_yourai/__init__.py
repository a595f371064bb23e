"""Finds the LoRA fine-tuning configuration that fits a machine, by running it.

A pytest plugin: every batch size × rank × layers combination is one item that runs a few real
mlx-lm training steps in a worker process. For programs and notebooks the names in `__all__` are
here, which need no pytest and are imported when they are used: importing this package imports
nothing else.

The packages import one way: `core`, `machine`, `models`, `estimate`, `store`, `plan`, `worker`,
`sweep`, `report`, `training` and `api`; two front ends import any of them: `plugin` (pytest) and
`cli` (the `yourai` command). Only `worker.engine` imports MLX, only `plugin` and `suite` import
pytest.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_yourai.api.fitting import Fits, fits
    from pytest_yourai.api.profile import Profile, load
    from pytest_yourai.api.recommending import recommend
    from pytest_yourai.api.sweeping import sweep
    from pytest_yourai.core.config import LoraConfig
    from pytest_yourai.core.errors import InputError, YouraiError
    from pytest_yourai.core.outcomes import Outcome
    from pytest_yourai.core.results import TrialResult
    from pytest_yourai.estimate import MemoryEstimate, estimate_training_memory
    from pytest_yourai.plan.recommendation import Recommendation
    from pytest_yourai.trial_handle import Trial, TrialError

__all__ = [
    "Fits",
    "InputError",
    "LoraConfig",
    "MemoryEstimate",
    "Outcome",
    "Profile",
    "Recommendation",
    "Trial",
    "TrialError",
    "TrialResult",
    "YouraiError",
    "estimate_training_memory",
    "fits",
    "load",
    "recommend",
    "sweep",
]

_HOMES = {
    "Fits": "api.fitting",
    "InputError": "core.errors",
    "LoraConfig": "core.config",
    "MemoryEstimate": "estimate",
    "Outcome": "core.outcomes",
    "Profile": "api.profile",
    "Recommendation": "plan.recommendation",
    "Trial": "trial_handle",
    "TrialError": "trial_handle",
    "TrialResult": "core.results",
    "YouraiError": "core.errors",
    "estimate_training_memory": "estimate",
    "fits": "api.fitting",
    "load": "api.profile",
    "recommend": "api.recommending",
    "sweep": "api.sweeping",
}
"""The module of each public name."""


if not TYPE_CHECKING:  # for a type checker, names that are not above are mistakes

    def __getattr__(name: str) -> Any:
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(types.ModuleType):
    """Keeps `pytest_yourai.sweep` the function: Python would set it to the package of that name."""

    @property
    def sweep(self) -> Any:
        return self.__getattr__("sweep")

    @sweep.setter
    def sweep(self, package: types.ModuleType) -> None:
        pass


sys.modules[__name__].__class__ = _Package
