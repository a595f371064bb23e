"""The engine: MLX and mlx-lm, imported nowhere else."""
