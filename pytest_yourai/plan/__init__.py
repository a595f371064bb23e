"""From what was asked for to what will run: flags, options, matrix, stages; starts nothing."""
