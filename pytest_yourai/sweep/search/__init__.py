"""The fast search: which trial is next."""
