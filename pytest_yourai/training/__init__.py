"""`yourai train`: settings, supervision and checkpoints of a training run."""
