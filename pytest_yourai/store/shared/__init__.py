"""Profiles made to be shared, which have nothing private, and the checks that they must pass."""
