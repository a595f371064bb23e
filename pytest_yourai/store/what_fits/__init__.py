"""One table of many profiles: which configuration of a model fits which machine, and how fast."""
