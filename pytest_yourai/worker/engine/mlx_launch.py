"""`mlx.launch`, run by bootstrap.py, so that nothing of the user's project hides a module of it."""

from __future__ import annotations

from mlx._distributed_utils.launch import main

__all__ = ["main"]
