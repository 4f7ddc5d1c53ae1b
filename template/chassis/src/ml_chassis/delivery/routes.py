"""Who answers what: the routes that Envoy is given.

A request that the canary fails is asked again of stable, and one that it does not answer in time,
too, so that no client sees a failure of the canary alone. That is safe for predictions, which
change nothing; of routes of a team's own nobody knows, so there only what was not sent is asked
again.

What a shadow is sent is a copy, for whose answer nobody waits.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from ..current import EXPOSURE, PREDICTION_ID
from ..feedback.sample import ARMS
from ..serving.guard import OWN
from ..serving.split import ARM
from ..settings import CANARY, SHADOW, STABLE, Settings

PREDICT = "/predict"
TESTED = "tested"
"""Stable as an arm of an A/B test: what it fails is not asked again."""
SMALL_BYTES = 65_536
TRY_SECONDS, LARGE_TRY_SECONDS = 2, 15
"""Beyond what the model may take for a call, after which a request to the canary is asked again; a
large one is predicted in many calls."""
NOT_SENT = "connect-failure,refused-stream,reset-before-request"
FAILED = "5xx,reset,connect-failure,refused-stream,retriable-status-codes"
BUSY = 429
PREVIOUS = "envoy.retry_priorities.previous_priorities"
CAREFUL = {"retry_on": NOT_SENT, "num_retries": 1}

Part = dict[str, Any]


class Assignment(NamedTuple):
    """How units are assigned to the arms of an A/B test.

    Attributes:
        name: Of the test.
        share: Percent of the units that the canary answers.
        unit: Header that names the unit.
    """

    name: str
    share: int
    unit: str


class Sharing(NamedTuple):
    """How requests are shared; one of these at a time, or none: then stable answers all.

    Attributes:
        weight: Percent of them that the canary gets.
        mirrored: Percent of the predictions of stable that a shadow is asked for, too.
        test: Who is answered by the canary in an A/B test.
        alone: Whether the canary answers all, whatever it is: stable is not there.
    """

    weight: int = 0
    mirrored: int = 0
    test: Assignment | None = None
    alone: bool = False


def routes(configured: Settings, sharing: Sharing) -> Part:
    """Return who answers what; what this gateway says is not for clients to say.

    Predictions, labels and a team's own routes are shared between the tracks; whatever else is
    asked, as probes and metrics, is about the service that is there to stay.
    """
    found = [
        *(_released(configured, sharing.weight) if sharing.weight else ()),
        *([_mirrored(sharing.mirrored)] if sharing.mirrored else ()),
        *(_tested(configured, sharing.test) if sharing.test else ()),
        {"match": {"prefix": "/"}, "route": _to(CANARY if sharing.alone else STABLE)},
    ]
    unsaid = {"request_headers_to_remove": [PREDICTION_ID, EXPOSURE]}
    host = {"name": "service", "domains": ["*"], "routes": [{**unsaid, **each} for each in found]}
    return {"name": "routes", "virtual_hosts": [host]}


def _released(configured: Settings, weight: int) -> Iterator[Part]:
    """Yield that the canary gets a share of the requests."""
    part, own = _percent(weight), {"prefix": OWN}
    yield {"match": {**own, **part}, "route": _to(CANARY, {**CAREFUL, **_of_the_other()})}
    yield {"match": own, "route": _to(STABLE)}
    small, large = _tries(configured, {"prefix": "/"})
    yield {"match": {**small[0], **part}, "route": _to(CANARY, small[1])}
    yield {"match": small[0], "route": _to(STABLE)}
    yield {"match": {**large[0], **part}, "route": _to(CANARY, large[1])}


def _mirrored(share: int) -> Part:
    """Return that a shadow gets copies of a share of the predictions, under the same names."""
    return {
        "match": {**_posted({"path": PREDICT}), **_percent(share)},
        "route": {**_to(STABLE), "request_mirror_policies": [{"cluster": SHADOW}]},
        "request_headers_to_add": [_set(PREDICTION_ID, "%UNIQUE_ID%")],
    }


def _tested(configured: Settings, test: Assignment) -> Iterator[Part]:
    """Yield that units are assigned to arms, and stay there; testers choose."""
    champion, challenger = ARMS
    for match, again in _tries(configured, {"path": PREDICT}):
        yield {"match": _with(match, _exactly(ARM, challenger)), "route": _to(CANARY, again)}
        yield {"match": _with(match, _exactly(ARM, champion)), "route": _to(STABLE)}
        shares = (CANARY, challenger, test.share), (TESTED, champion, 100 - test.share)
        clusters = [
            {
                "name": cluster,
                "weight": share,
                "request_headers_to_add": [_set(EXPOSURE, f"{test.name} {arm} %REQ({test.unit})%")],
            }
            for cluster, arm, share in shares
        ]
        # With the name of the test, so that another one assigns anew.
        named = {"pattern": {"regex": "^"}, "substitution": f"{test.name} "}
        by_unit = {"header": {"header_name": test.unit, "regex_rewrite": named}}
        any_unit = {"name": test.unit, "string_match": {"safe_regex": {"regex": ".+"}}}
        route = {
            "weighted_clusters": {"clusters": clusters, "use_hash_policy": True},
            "hash_policy": [by_unit],
            "timeout": "0s",
            "retry_policy": again,
        }
        # What an arm says overwrites what a client does; removing it here would come after that.
        said = {"request_headers_to_remove": [PREDICTION_ID]}
        yield {"match": _with(match, any_unit), "route": route, **said}


def _tries(configured: Settings, where: Part) -> list[tuple[Part, Part]]:
    """Return what is matched, and how it is asked again: small requests, then all others."""
    posted = _posted(where)
    length = {"name": "content-length", "range_match": {"start": 0, "end": SMALL_BYTES}}
    return [
        (_with(posted, length), _again(configured.model_seconds + TRY_SECONDS)),
        (posted, _again(configured.model_seconds + LARGE_TRY_SECONDS)),
    ]


def _again(seconds: float) -> Part:
    """Return how a request is asked again, also when there is no answer after so many seconds."""
    return {
        "retry_on": FAILED,
        "retriable_status_codes": [BUSY],
        "num_retries": 1,
        "per_try_timeout": f"{seconds:g}s",
        **_of_the_other(),
    }


def _of_the_other() -> Part:
    """Return that it is asked of the other priority, which is stable."""
    kind = "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig"
    other = {"@type": f"type.googleapis.com/{kind}", "update_frequency": 1}
    return {"retry_priority": {"name": PREVIOUS, "typed_config": other}}


def _to(cluster: str, again: Part | None = None) -> Part:
    """Return who answers; the service has its own limits of time, and an answer may be long."""
    return {"cluster": cluster, "timeout": "0s", "retry_policy": again or CAREFUL}


def _posted(where: Part) -> Part:
    return {**where, "headers": [_exactly(":method", "POST")]}


def _with(match: Part, header: Part) -> Part:
    return {**match, "headers": [*match["headers"], header]}


def _percent(share: int) -> Part:
    amount = {"default_value": {"numerator": share, "denominator": "HUNDRED"}}
    return {"runtime_fraction": amount}


def _exactly(header: str, value: str) -> Part:
    return {"name": header, "string_match": {"exact": value}}


def _set(header: str, value: str) -> Part:
    """Return that a header has this value, whatever a client says."""
    how = {"append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    return {"header": {"key": header, "value": value}, **how}
