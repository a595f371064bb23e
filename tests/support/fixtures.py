"""Fixtures of every tier, and the settings of Hypothesis."""

from hypothesis import settings

from support.hub_cache import hub_cache
from support.no_job import no_job
from support.small_cgroup import small_cgroup

__all__ = ["hub_cache", "no_job", "small_cgroup"]

# Machines are shared: an example may take long for no reason of its own.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")
