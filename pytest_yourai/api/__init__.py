"""What `import pytest_yourai` gives to programs and notebooks: it needs no pytest."""
