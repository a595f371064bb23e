"""The `yourai` command."""
