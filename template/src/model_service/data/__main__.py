"""Bring the rows with features up to date: `make data`."""

import argparse
import sys
from pathlib import Path

from .. import settings
from ..errors import UserError
from ..reports.page import write
from ..training.config import read
from .pipeline import say, update
from .report import render
from .store import open_store

REPORT = Path("build/data/report.html")


def main() -> int:
    """Read what is new, build what it concerns, write a report; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m model_service.data")
    parser.add_argument("--replay", action="store_true", help="read rows in quarantine again")
    options = parser.parse_args()
    try:
        configured = settings.read()
        limit = read().gates.get("refused_share")
        with open_store(configured) as store:
            say(update(store, configured.addresses, options.replay))
            text = render(store, limit.maximum if limit else None)
    except UserError as error:
        print(f"\nThe data is not up to date. {error}", file=sys.stderr)
        return 1
    write(REPORT, text)
    print(f"\nWhat came in, and what was refused and why: {REPORT}. Next: `make train`.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
