"""Names of the environment variables by which a worker learns what its parent wants."""

PATH = "YOURAI_PYTHONPATH"
"""PYTHONPATH as the parent has it."""

TEST_ENGINE = "YOURAI_TEST_ENGINE"
"""Names another engine as `module:class`: a door for tests of everything but the engine."""

MARK = "YOURAI_WORKER"
"""A random name of the worker, which all that it starts inherits."""
