"""Command line: `python -m model_service.training`, or `make train`."""

import sys

from .train import main

sys.exit(main())
