"""Training with a configuration that was measured: settings, supervision, what is kept."""
