"""Measurements on disk: journal, profile, recordings."""
