"""Kept light: an editable install loads this beside the packaged test, from any folder."""
