"""What is long by nature runs whole at night alone: `make nightly`."""

import os

NIGHTLY = bool(os.environ.get("NIGHTLY"))
"""Whether all combinations, full soaks and many examples are tested, instead of a part of each."""
