"""Finds the LoRA fine-tuning configuration that fits a machine, by running it.

A pytest plugin: every batch size × rank × layers combination is one item that runs a few real
mlx-lm training steps in a worker process. Ten packages, each importing only from those below it:
`core`, `machine`, `models`, `estimate`, `store`, `plan`, `worker`, `sweep`, `report`, `training`;
two front ends import any of them: `plugin` (pytest) and `cli` (the `yourai` command). Only
`worker.engine` imports MLX, only `plugin` imports pytest.
"""
