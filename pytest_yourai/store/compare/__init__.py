"""Two stored sweeps side by side: changes, noise, regressions."""
