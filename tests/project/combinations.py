"""The combinations of answers that the tests of this folder use."""

from render.engines import CHOICES
from render.pairwise import Combination, pairwise

COMBINATIONS = pairwise(CHOICES)
DEFAULT = COMBINATIONS[0]
# The other value of everything that changes the image or where it runs, on the oldest Python. There
# is no stand-in for the image of Python 3.12, see tools/container-engine.sh.
OPPOSITE = {
    "python_version": "3.11",
    "license": "Proprietary",
    "model_family": "neural_network",
    "platform": "single_host",
    "chassis": "vendored",
}
# What a project does hardly depends on its answers: all of its tests run once, in the workflow of
# the default; for the others run the few that train a model and ask it over HTTP.
FEW_TESTS = "tests/test_service.py tests/test_model.py"


def name_of(combination: Combination) -> str:
    """Return the id of a combination in the output of pytest."""
    return "-".join(combination.values())
