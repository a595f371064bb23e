"""The process that holds the model: wire protocol, both ends of it, how it ended."""
