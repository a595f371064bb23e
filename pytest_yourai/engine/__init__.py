"""What runs a trial: the Engine protocol, and the engine that uses MLX."""
