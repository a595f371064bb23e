"""Sweeps held against each other: from stored profiles to regressions, without pytest or MLX."""
