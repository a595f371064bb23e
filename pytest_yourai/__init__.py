"""Finds the LoRA fine-tuning configuration that fits a machine, by running it.

A pytest plugin: every batch size × rank × layers combination is one item that runs a few real
mlx-lm training steps in a worker process. `plugin` holds the hooks; everything below `session`
works without pytest, and only `engine.mlx_*` imports MLX.
"""
