from hub_cache import hub_cache
from small_cgroup import small_cgroup

__all__ = ["hub_cache", "small_cgroup"]
