"""The report on a shadow: how its predictions differ from stable's, and how it serves."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from ...contract import Contract
from ...decision import Decision
from ...measures import Estimate, measures_of
from ...monitoring import metrics
from ...monitoring.metrics import series_of
from ...monitoring.panels import RATE, Dashboard, Panel, Query
from ...monitoring.rules.burn import failed_statuses
from ...observe import draw
from ...observe.page import dashboard
from ...observe.prometheus import Prometheus, PrometheusError, Sample
from ...reports import page
from ...settings import SHADOW, STABLE
from ...slo import Slo
from ..report import by_track, memory, view_of
from ..routes import PREDICT
from .comparison import LEAST, QUANTILES, Comparison, Labelled
from .record import Shadow
from .traffic import Traffic, sent, traffic

POINTS, BINS = 1_000, 11
MOST_OUTCOMES = 10
BOTH = ("", STABLE, SHADOW)
OF_JOB = f'job=~"$job",route="{PREDICT}"'


class About(NamedTuple):
    """What a report is about.

    Attributes:
        contract: The schema.
        stated: The objectives.
        decision: What somebody does because of a prediction; None is nothing.
        job: How Prometheus calls the service.
        shadow: The shadow.
        pairs: For how many requests both predictions are known; as many may be compared, or fewer.
        compared: What they predicted; None where nothing can be compared.
    """

    contract: Contract
    stated: Slo
    decision: Decision | None
    job: str
    shadow: Shadow
    pairs: int
    compared: Comparison | None


def write(path: Path, about: About, server: Prometheus | None) -> Path:
    """Write the report, and return its path.

    Args:
        path: Of the page.
        about: What it is about.
        server: Prometheus; None where the gateway runs no more, and knows nothing of how it serves.
    """
    lasted = draw.text(max(round(about.shadow.end - about.shadow.begun), 1), "s")
    words = (
        f"For {lasted}, {about.shadow.share} % of the requests for predictions were also sent to "
        f"{about.shadow.version}. Clients were answered by {about.shadow.stable}. To let some be "
        f"answered by the other one: make canary VERSION={about.shadow.version}"
    )
    parts = [page.paragraph(words), *_predictions(about), *_service(about, server)]
    page.write(path, page.page(outcome(about), about.compared is not None, parts))
    return path


def outcome(about: About) -> str:
    """Return what was found, in a sentence."""
    found, names = about.compared, f"{about.shadow.version} beside {about.shadow.stable}"
    if found is None:
        return f"{names}: there is nothing to compare"
    if found.agreement:
        of = "most probable class" if about.contract.classes else "decision"
        return f"{names}: the same {of} for {found.agreement.value:.1%} of {found.rows:,} requests"
    median = f"{found.apart[0]:.3g}"
    return f"{names}: predictions of half of {found.rows:,} requests differ by less than {median}"


def _predictions(about: About) -> Iterator[Markup]:
    found = about.compared
    if found is None:
        yield page.paragraph("No request has a prediction of both.")
        return
    yield page.heading("Predictions")
    yield page.paragraph(
        f"The first row of {found.rows:,} requests, of {about.pairs:,} that both have predicted. "
        "Intervals are of 95 %."
    )
    yield page.table((), [*_numbers(about, found)])
    if not about.contract.classes:
        yield page.charts([_scatter(found), _differences(found)])
    if found.outcomes:
        yield page.heading("Most probable class" if about.contract.classes else "Decisions")
        yield _outcomes(found)
    yield from _labels(about, found.labelled)
    if found.slices:
        yield page.heading("Slices")
        yield _slices(found.slices)
    yield page.heading("Furthest apart")
    yield page.table(
        ("prediction_id", STABLE, SHADOW),
        [(each.id, _text(each.stable), _text(each.shadow)) for each in found.largest],
    )


def _numbers(about: About, found: Comparison) -> Iterator[tuple[str, str]]:
    apart = "Total variation distance" if about.contract.classes else "Absolute difference"
    if found.difference:
        for name, of in (("stable", found.stable), ("the shadow", found.shadow)):
            yield f"Mean prediction of {name}", f"{of.mean():.4g}"
        yield "Mean difference, shadow less stable", str(found.difference)
    for share, value in zip(QUANTILES, found.apart, strict=True):
        yield f"{apart}, quantile {share:g}", f"{value:.3g}"
    if found.correlation is not None:
        yield "Correlation (Pearson)", f"{found.correlation:.4f}"
    if found.agreement:
        what = "Same most probable class" if about.contract.classes else "Same decision"
        yield what, _share(found.agreement)


def _outcomes(found: Comparison) -> Markup:
    rows = [
        (*names, f"{count:,}", f"{count / found.rows:.2%}")
        for names, count in found.outcomes[:MOST_OUTCOMES]
    ]
    return page.table((STABLE, SHADOW, "requests", "share"), rows)


def _labels(about: About, found: Labelled | None) -> Iterator[Markup]:
    yield page.heading("Labels")
    if found is None:
        yield page.paragraph(
            f"Fewer than {LEAST} labels have come: which of both is right is not known. Later, "
            "make shadow writes this page anew."
        )
        return
    loss = measures_of(about.contract.task).loss_words
    rows = [(f"Mean {loss}", str(found.stable), str(found.shadow))]
    if found.values and about.decision:
        stable, shadow = (f"{value:.4g} {about.decision.unit}" for value in found.values)
        rows.append(("Mean value of a decision", stable, shadow))
    yield page.paragraph(
        f"The labels of {found.rows:,} of these requests have come. {_gain(found)}"
    )
    yield page.table(BOTH, rows)


def _gain(found: Labelled) -> str:
    gain = f"Its loss is lower by {found.gain}."
    if found.gain.low > 0:
        return f"The shadow is better. {gain}"
    if found.gain.high < 0:
        return f"The shadow is worse. {gain}"
    return f"Neither is certainly better. {gain}"


def _slices(slices: Sequence[tuple[str, Comparison]]) -> Markup:
    rows = [
        (
            name,
            f"{found.rows:,}",
            str(found.difference) if found.difference else "",
            f"{found.apart[1]:.3g}",
            _share(found.agreement) if found.agreement else "",
        )
        for name, found in slices
    ]
    return page.table(("slice", "requests", "mean difference", "0.9 quantile", "the same"), rows)


def _scatter(found: Comparison) -> Markup:
    points = [*zip(found.stable[:POINTS].tolist(), found.shadow[:POINTS].tolist(), strict=True)]
    words = f"Each point is a request, {len(points):,} of them; on the line both are the same."
    return draw.scatter(Panel("Prediction of both", words, ()), points, STABLE, SHADOW)


def _differences(found: Comparison) -> Markup:
    counts, edges = np.histogram(found.shadow - found.stable, BINS)
    names = [f"{low:.2g} to {high:.2g}" for low, high in pairwise(edges)]
    bins = [
        Sample({"bin": name}, count / found.rows)
        for name, count in zip(names, counts.tolist(), strict=True)
    ]
    words = "Prediction of the shadow less that of stable."
    panel = Panel("Differences", words, (Query("", ""),), "percentunit")
    return draw.bars(panel, [bins]) or Markup("")


def _service(about: About, server: Prometheus | None) -> Iterator[Markup]:
    yield page.heading("Service")
    if server is None:
        yield page.paragraph("The gateway does not run: what Prometheus knew is gone.")
        return
    try:
        yield from _measured(about, server)
    except PrometheusError as error:
        yield page.paragraph(f"There is nothing to show. {error}")


def _measured(about: About, server: Prometheus) -> Iterator[Markup]:
    when = about.shadow.begun, about.shadow.end
    stable, shadow = (traffic(server, about.job, track, *when) for track in (STABLE, SHADOW))
    copies = sent(server, about.job, *when)
    yield page.paragraph(
        f"Of {copies:,.0f} copies that were sent, the shadow has answered {shadow.requests:,.0f}. "
        "Failed, refused and slow ones are of these alone."
    )
    rows = zip(_served(stable), _served(shadow), strict=True)
    yield page.table(BOTH, [(name, one, other) for (name, one), (_, other) in rows])
    view = view_of(server, about.job, *when)
    known = Dashboard(SHADOW, {"Over time": (*_over_time(about.stated), memory(about.stated))}, {})
    yield from dashboard(server, known, view)


def _served(found: Traffic) -> Iterator[tuple[str, str]]:
    yield "Requests for predictions", f"{found.requests:,.0f}"
    for name, share in (
        ("Failed (5xx, 429)", found.failed),
        ("Refused (4xx)", found.refused),
        ("Answered by the fallback", found.degraded),
    ):
        yield name, draw.text(share, "percentunit")
    for name, seconds in (("Latency p50", found.median), ("Latency p99", found.slow)):
        yield name, "" if seconds is None else draw.text(seconds, "s")
    yield "Memory", "" if found.memory is None else draw.text(found.memory, "bytes")


def _over_time(stated: Slo) -> Iterator[Panel]:
    requests = series_of(metrics.REQUESTS)
    rate = f"rate({requests}{{{OF_JOB}}}[{RATE}])"
    failed = f'rate({requests}{{{OF_JOB},status=~"{failed_statuses()}"}}[{RATE}])'
    buckets = f"rate({metrics.DURATION}_bucket{{{OF_JOB}}}[{RATE}])"
    yield by_track("Requests for predictions", "All statuses.", rate)._replace(unit="reqps")
    share = Query(f"sum by (track) ({failed}) / sum by (track) ({rate})", "{{track}}")
    yield Panel(
        "Failed requests",
        "Share, and the objective.",
        (share,),
        "percentunit",
        limit=stated.objectives.error_share,
    )
    latency = f"histogram_quantile(0.99, sum by (track, le) ({buckets}))"
    yield Panel(
        "Latency p99",
        "Of requests for predictions, and the objective.",
        (Query(latency, "{{track}}"),),
        "s",
        limit=stated.objectives.latency_p99_ms / 1_000,
    )


def _share(estimate: Estimate) -> str:
    return f"{estimate.value:.2%} ({estimate.low:.2%} to {estimate.high:.2%})"


def _text(prediction: float | list[float]) -> str:
    values = prediction if isinstance(prediction, list) else [prediction]
    return ", ".join(f"{value:.4g}" for value in values)
