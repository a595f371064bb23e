"""Files: the journal, the profile, and what is known of the machine."""
