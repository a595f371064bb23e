from hub_cache import hub_cache
from no_job import no_job
from small_cgroup import small_cgroup

__all__ = ["hub_cache", "no_job", "small_cgroup"]
