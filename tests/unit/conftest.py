from small_cgroup import small_cgroup

__all__ = ["small_cgroup"]
