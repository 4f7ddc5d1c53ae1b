"""The combinations of answers that the tests of this folder use."""

from project.pairwise import Combination, pairwise
from render.engines import CHOICES

COMBINATIONS = pairwise(CHOICES)
DEFAULT = COMBINATIONS[0]
# The other value of everything that changes the image or where it runs, on the oldest Python. There
# is no stand-in for the image of Python 3.12, see tools/container-engine.sh.
OPPOSITE = {
    "python_version": "3.11",
    "license": "Proprietary",
    "model_family": "neural_network",
    "platform": "single_host",
}
# The workflow of this one and of the default runs every test, of the others the quick ones.
WITH_SLOW_TESTS = next(
    each for each in COMBINATIONS if each["model_family"] == OPPOSITE["model_family"]
)


def name_of(combination: Combination) -> str:
    """Return the id of a combination in the output of pytest."""
    return "-".join(combination.values())
