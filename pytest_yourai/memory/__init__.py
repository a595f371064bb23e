"""Memory outside MLX: the machine's, the container's, a process's; the budget and the guard."""
