"""An A/B test in one service: which model answers a request, and who was exposed to it.

The unit of randomization, such as a customer, is what a header names. A hash of it and of the name
of the test decides: so all replicas assign it to the same arm, a test says nothing about the arms
of another one, and a larger share only adds units to the challenger.
"""

from hashlib import blake2b
from typing import NamedTuple

from starlette.types import Scope

from ..feedback.sample import ARMS, CHALLENGER, Arm, Exposure

ARM = b"experiment-arm"
"""Header with which a tester chooses an arm; such requests are not counted."""
HASH_BYTES = 8
_ARMS: dict[bytes, Arm] = {each.encode(): each for each in ARMS}


class Assigned(NamedTuple):
    """Which model answers a request.

    Attributes:
        arm: That of the unit, or what a tester wants.
        exposure: What is noted of it; None of a tester.
    """

    arm: Arm
    exposure: Exposure | None


class Split:
    """Assigns units to the arms of one test."""

    def __init__(self, name: str, header: str, share: int) -> None:
        """Take the plan.

        Args:
            name: Of the test.
            header: That names the unit.
            share: Percent of the units that get the challenger.
        """
        self._name, self._header = name, header.encode()
        self._key = name.encode()[: blake2b.MAX_KEY_SIZE]
        self._below = share * 256**HASH_BYTES // 100

    def assign(self, scope: Scope) -> Assigned | None:
        """Return who answers a request; None where it is not in the test: the champion does."""
        unit = b""
        for name, value in scope["headers"]:
            if name == ARM and value in _ARMS:
                return Assigned(_ARMS[value], None)
            if name == self._header:
                unit = value
        if not unit:
            return None
        digest = blake2b(unit, digest_size=HASH_BYTES, key=self._key)
        is_challenger = int.from_bytes(digest.digest()) < self._below
        arm: Arm = CHALLENGER if is_challenger else ARMS[0]
        return Assigned(arm, Exposure(self._name, digest.hexdigest(), arm))
