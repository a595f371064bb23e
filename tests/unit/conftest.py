from support.fixtures import hub_cache, no_job, small_cgroup

__all__ = ["hub_cache", "no_job", "small_cgroup"]
