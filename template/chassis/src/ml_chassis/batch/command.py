"""Score a file or a table: `make score INPUT=... OUTPUT=...`."""

import sys
from pathlib import Path

from .. import registry, settings
from ..data.database import hide_password
from ..errors import UserError
from ..project import Project
from ..serving.predictor import Predictor
from ..training.config import read
from . import ScoreError
from .score import Model, score
from .writing import refused_path


def run(project: Project, source: str, target: str, version: str = "") -> int:
    """Score all rows, say what came of it; return the exit code."""
    output = Path(target)
    try:
        if not (source and target):
            raise ScoreError("Say what and where to: make score INPUT=orders.csv OUTPUT=...")
        configured = settings.read()
        graph, manifest = registry.load(configured.models_dir, version or configured.alias)
        registry.require_schema(project.contract, manifest)
        print(f"scoring {hide_password(source)} with {manifest.version}", flush=True)
        done = score(
            Model(project.contract, manifest.version, Predictor(project.contract, graph)),
            source,
            output,
            read(project).refused_limit,
            project.private,
        )
    except UserError as error:
        print(f"\nNothing was scored. {error}", file=sys.stderr)
        return 1
    print(f"\n{done}: {output}")
    if done.refused:
        print(f"Why rows were refused: {refused_path(output)}")
    return 0
