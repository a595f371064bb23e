"""The nouns of the package: configurations, results, outcomes, errors, units, text and files."""
