"""Score a file or a table: `make score INPUT=... OUTPUT=...`."""

import argparse
import sys
from pathlib import Path

from .. import registry, settings
from ..data.database import hide_password
from ..errors import UserError
from ..serving.predictor import Predictor
from ..training.config import read
from . import ScoreError
from .score import Model, score
from .writing import refused_path


def main() -> int:
    """Score all rows, say what came of it; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m model_service.batch")
    parser.add_argument("input", nargs="?", default="", help="file, or database?table=NAME")
    parser.add_argument("output", nargs="?", default="", help="file")
    parser.add_argument("--version", help="of the model; the champion when none is given")
    options = parser.parse_args()
    output = Path(options.output)
    try:
        if not (options.input and options.output):
            raise ScoreError("Say what and where to: make score INPUT=orders.csv OUTPUT=...")
        configured = settings.read()
        graph, manifest = registry.load(configured.models_dir, options.version or configured.alias)
        registry.require_schema(manifest)
        limit = read().gates.get("refused_share")
        print(f"scoring {hide_password(options.input)} with {manifest.version}", flush=True)
        done = score(
            options.input,
            output,
            Model(manifest.version, Predictor(graph)),
            limit.maximum if limit else None,
        )
    except UserError as error:
        print(f"\nNothing was scored. {error}", file=sys.stderr)
        return 1
    print(f"\n{done}: {output}")
    if done.refused:
        print(f"Why rows were refused: {refused_path(output)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
