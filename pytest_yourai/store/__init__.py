"""What was measured, on disk: journal, profile, recordings."""
