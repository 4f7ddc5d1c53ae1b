"""The combinations of answers that the tests of this folder use."""

from itertools import cycle

from nightly import NIGHTLY
from render.engines import CHOICES
from render.pairwise import Combination, every, pairwise

# What a license and a version of Python change is text, as all projects here run on the Python of
# these tests: they take no combinations of their own, only places in some.
TEXT = ("python_version", "license")
WORKING = {name: values for name, values in CHOICES.items() if name not in TEXT}
COMBINATIONS: list[Combination] = (
    every(CHOICES)
    if NIGHTLY
    else [
        dict(zip(TEXT, texts, strict=True)) | answers
        for answers, *texts in zip(
            pairwise(WORKING), *(cycle(CHOICES[name]) for name in TEXT), strict=False
        )
    ]
)
"""Every pair of answers; all combinations at night."""
DEFAULT = COMBINATIONS[0]
# The other value of everything that changes the image or where it runs, on the oldest Python. There
# is no stand-in for the image of Python 3.12, see tools/container-engine.sh.
OPPOSITE = {
    "python_version": "3.11",
    "license": "Proprietary",
    "model_family": "neural_network",
    "platform": "single_host",
    "chassis": "index",
}


def name_of(combination: Combination) -> str:
    """Return the id of a combination in the output of pytest."""
    return "-".join(combination.values())
