"""What the dashboards show: each panel, with what it asks of Prometheus."""

import json
import re
from collections.abc import Mapping
from typing import Literal, NamedTuple

from prometheus_client import Counter

from ..slo import Slo, seconds
from . import metrics
from .drift import MISSING, OTHER, PREDICTION
from .metrics import series_of
from .quality import ALL
from .rules import burn, drift, model, quality, release
from .rules.rule import workers_ended

Kind = Literal["lines", "number", "bars"]
Unit = Literal["short", "reqps", "percentunit", "s", "bytes", "rowsps"]

JOB, TRACK, FEATURE = "job", "track", "feature"
"""What somebody who looks chooses."""
CHOSEN = f'{JOB}=~"${JOB}",{TRACK}=~"${TRACK}"'
RATE = "$__rate_interval"


class Query(NamedTuple):
    """A line, or the bars of a distribution.

    Attributes:
        expr: PromQL.
        legend: How Grafana calls it, with labels as `{{label}}`.
    """

    expr: str
    legend: str


class Panel(NamedTuple):
    """One chart.

    Attributes:
        title: Its title.
        words: What it says, and what to look for.
        queries: What it shows.
        unit: Of all values.
        kind: Lines over time, the number now, or bars by the label `bin`.
        limit: From which on it is bad.
    """

    title: str
    words: str
    queries: tuple[Query, ...]
    unit: Unit = "short"
    kind: Kind = "lines"
    limit: float | None = None


class Dashboard(NamedTuple):
    """Some charts, by sections.

    Attributes:
        name: Of its file.
        sections: Panels by the title of their section.
        chosen: Labels that somebody chooses, and the series that knows their values.
    """

    name: str
    sections: Mapping[str, tuple[Panel, ...]]
    chosen: Mapping[str, str]


def choose(expr: str, job: str, feature: str, rate: str) -> str:
    """Return an expression with what somebody has chosen in it, for all tracks.

    Args:
        expr: Of a query.
        job: How Prometheus calls the service.
        feature: One of the features.
        rate: Over which time rates are, such as "1m".
    """
    exactly = re.escape(job)  # other characters mean something there
    values = {JOB: exactly, TRACK: ".+", FEATURE: feature}
    for name, value in values.items():
        expr = expr.replace(f"${name}", json.dumps(value, ensure_ascii=False)[1:-1])
    return expr.replace(RATE, rate)


def dashboards(slo: Slo) -> tuple[Dashboard, ...]:
    """Return all of them."""
    started = series_of(metrics.START)
    chosen = {JOB: started, TRACK: started}
    return (
        Dashboard("service", _service(slo), chosen),
        Dashboard("model", _model(slo), chosen),
        Dashboard("drift", _drift(slo), {**chosen, FEATURE: drift.PSI}),
        Dashboard("business", _business(slo), chosen),
    )


def _service(slo: Slo) -> dict[str, tuple[Panel, ...]]:
    firing = 'ALERTS{alertname=~"ModelService.*",alertstate="firing",job=~"$job|"}'
    budgets = [
        Panel(
            each.title,
            "Of the last 5 minutes and the last hour, and the objective.",
            tuple(
                Query(f"{burn.series(each, window)}{{{CHOSEN}}}", f"{{{{track}}}} {window}")
                for window in ("5m", "1h")
            ),
            "percentunit",
            limit=each.budget,
        )
        for each in burn.indicators(slo)
    ]
    burning = tuple(
        Query(
            f"{burn.series(each, '6h')}{{{CHOSEN}}} / {each.budget:g}",
            f"{each.alert} {{{{track}}}}",
        )
        for each in burn.indicators(slo)
        if each.budget  # of none, one event is all of it
    )
    latency = tuple(
        Query(_quantile(quantile, metrics.DURATION), f"{100 * quantile:g} % are answered within")
        for quantile in (0.5, 0.99)
    )
    refused = f"sum by (field, reason) ({_rate(series_of(metrics.PROBLEMS))})"
    return {
        "Objectives": (
            Panel(
                "Alerts",
                "That fire now; docs/runbook.md says what to do.",
                (Query(f"count({firing}) or vector(0)", "firing"),),
                kind="number",
                limit=1,
            ),
            *budgets,
            Panel(
                "Burn rate",
                "Over 6 hours. At 1 the error budget lasts for 30 days, at 6 somebody is woken.",
                burning,
                limit=1,
            ),
        ),
        "Requests": (
            _by("Requests by status", "All routes.", metrics.REQUESTS, "status", "reqps"),
            _by("Requests by route", "All statuses.", metrics.REQUESTS, "route", "reqps"),
            Panel(
                "Latency",
                "From the headers of a request to its answer, and the objective of 99 %.",
                latency,
                "s",
                limit=seconds(slo.objectives.latency_p99_ms),
            ),
            Panel(
                "Refused requests",
                "By field and reason of what is wrong with them, and those without a valid key.",
                (
                    Query(refused, "{{field}}: {{reason}}"),
                    Query(f"sum({_rate(series_of(metrics.UNAUTHORISED))})", "without a valid key"),
                ),
                "reqps",
            ),
        ),
        "Replicas": (
            Panel(
                "Waiting requests",
                "The most at once in a second. More than a few: add workers or replicas.",
                (Query(f"{series_of(metrics.WAITING)}{{{CHOSEN}}}", "{{instance}}"),),
            ),
            Panel(
                "Memory",
                "Of each replica, and the limit at which it is killed.",
                (Query(f"{metrics.MEMORY}{{{CHOSEN}}}", "{{instance}}"),),
                "bytes",
                limit=slo.budget.memory_mib * 2**20,
            ),
            Panel(
                "Time since the start",
                "A replica that begins again and again is killed or crashes.",
                (Query(f"time() - {series_of(metrics.START)}{{{CHOSEN}}}", "{{instance}}"),),
                "s",
            ),
            Panel(
                "Workers that ended",
                "Within 10 minutes, of each replica: killed, crashed, or replaced as they hung.",
                (Query(workers_ended(burn.CRASHES_WINDOW, CHOSEN), "{{instance}}"),),
                limit=burn.CRASHES,
            ),
            _by("Messages of a stream", "Of `make stream`.", metrics.MESSAGES, "outcome", "rowsps"),
        ),
        "Release": _release(slo),
    }


def _release(slo: Slo) -> tuple[Panel, ...]:
    minutes = f"Of the last {slo.release.window_minutes} minutes"
    of_job = 'job=~"$job"'
    problem = f"{release.PROBLEM}{{{of_job}}} or on (job) 0 * {release.VERDICT}{{{of_job}}}"
    both = f"and on (job, bins) {release.PSI}"
    means = f"sum by (track, reason) ({release.MEAN}{{{of_job}}})"
    return (
        Panel(
            "Verdict on the canary",
            "1: it is as good as stable. -1: it has a problem. 0: not enough is known yet.",
            (Query(f"{release.VERDICT}{{{of_job}}}", "canary"),),
            kind="number",
        ),
        Panel(
            "Requests of the canary",
            f"{minutes}; with fewer than {slo.release.least_requests} it is never good.",
            (Query(f"{release.REQUESTS}{{{of_job}}}", "canary"),),
            kind="number",
        ),
        Panel(
            "Problems of the canary",
            "1 for each reason for which it fails.",
            (Query(problem, "{{reason}}"),),
            limit=1,
        ),
        Panel(
            "Bad requests of both",
            f"{minutes}: failed, slower than the objective, degraded, refused.",
            (Query(f"{release.SHARE}{{{of_job}}}", "{{reason}} {{track}}"),),
            "percentunit",
        ),
        Panel(
            "Difference in standard errors",
            "By which the canary exceeds stable. A problem must also matter.",
            (Query(f"{release.Z}{{{of_job}}}", "{{reason}}"),),
            limit=release.NORMAL,
        ),
        Panel(
            "Predictions of both",
            f"{minutes}, in bins that both have; of each request the first.",
            tuple(
                Query(
                    f'max by (bin) ({release.PREDICTIONS}{{{of_job},track="{track}"}} {both})',
                    track,
                )
                for track in ("canary", "stable")
            ),
            "percentunit",
            "bars",
        ),
        Panel(
            "Index of the predictions and its limit",
            "Population stability index of both tracks.",
            (
                Query(f"max({release.PSI}{{{of_job}}})", "index"),
                Query(f"max({release.LIMIT}{{{of_job}}})", "limit"),
            ),
        ),
        Panel(
            "By labels that came",
            f"{minutes}: mean loss, and mean value of a decision.",
            (Query(means, "{{reason}} {{track}}"),),
        ),
    )


def _model(slo: Slo) -> dict[str, tuple[Panel, ...]]:
    workers = f"{series_of(metrics.WORKERS)}{{{CHOSEN}}}"
    served = f"sum by (track, version) ({workers})"
    trained = f"max by (track, version) ({series_of(metrics.TRAINED_ROWS)}{{{CHOSEN}}})"
    rows, inference = metrics.BATCH_ROWS._name, metrics.INFERENCE._name
    source = f"sum by (source, state) ({_rate(series_of(metrics.SOURCE_VALUES))})"
    calls = f"sum by (source, result) ({_rate(series_of(metrics.SOURCE_CALLS))})"
    impossible = f"sum by (source, field) ({_rate(series_of(metrics.SOURCE_IMPOSSIBLE))})"
    of_version = "on (job, track, version)"
    ended = f'{series_of(metrics.RETRAINING_END)}{{job=~"$job"}}'
    return {
        "Versions": (
            _by("Predictions", "By version.", metrics.PREDICTIONS, "version", "rowsps"),
            Panel(
                "Workers",
                "That serve a version; two at once while a promotion arrives.",
                (Query(served, "{{version}} {{track}}"),),
            ),
            Panel(
                "Age",
                "Since what is served was trained, and the days after which it is retrained.",
                (
                    Query(
                        f"({model.age()}) and {of_version} "
                        f"(sum by (job, track, version) ({workers}) > 0)",
                        "{{version}} {{track}}",
                    ),
                ),
                "s",
                "number",
                slo.freshness.model_days * model.DAY,
            ),
            Panel(
                "Rows of training",
                "Of what is served.",
                (Query(f"{trained} and {served} > 0", "{{version}} {{track}}"),),
                kind="number",
            ),
            Panel(
                "Time since the last retraining",
                "Of `make retrainer`, by outcome.",
                (Query(f"time() - (max by (outcome) ({ended}) > 0)", "{{outcome}}"),),
                "s",
                "number",
            ),
        ),
        "Calls": (
            Panel(
                "Inference latency",
                "Of the model alone, 99 %; by version.",
                (Query(_quantile(0.99, inference, "version"), "{{version}}"),),
                "s",
            ),
            Panel(
                "Batch size",
                "Rows in a call of the model; requests that come together share one.",
                (Query(f"sum({_rate(f'{rows}_sum')}) / sum({_rate(f'{rows}_count')})", "mean"),),
            ),
            _by(
                "Degraded predictions",
                "Why the fallback answers.",
                metrics.DEGRADED,
                "reason",
                "rowsps",
            ),
        ),
        "Predictions": (
            _bars("Distribution of the predictions", PREDICTION, slo),
            Panel(
                "Predictions of other tracks beside stable",
                "Population stability index of the last hour, where both have the same bins.",
                (Query(f'{drift.TO_STABLE}{{job=~"$job",feature="{PREDICTION}"}}', "{{track}}"),),
                limit=slo.drift.psi,
            ),
        ),
        "Values of other services": (
            Panel(
                "Values",
                "Live, last known, too old or missing.",
                (Query(source, "{{source}}: {{state}}"),),
                "rowsps",
            ),
            Panel(
                "Age of the values",
                "When they are used, 90 %.",
                (Query(_quantile(0.9, metrics.SOURCE_AGE._name, "source"), "{{source}}"),),
                "s",
            ),
            Panel("Calls", "By result.", (Query(calls, "{{source}}: {{result}}"),), "reqps"),
            Panel(
                "Impossible values",
                "That the schema refuses, and that so are missing.",
                (Query(f"{impossible} or vector(0)", "{{source}}: {{field}}"),),
                "rowsps",
            ),
        ),
    }


def _drift(slo: Slo) -> dict[str, tuple[Panel, ...]]:
    over = f"{drift.PSI}{{{CHOSEN}}} / {drift.LIMIT}"
    stable = f'{drift.TO_STABLE}{{job=~"$job"}}'
    hour = f'{drift.RECENT_SHARE}{{{CHOSEN},feature="$feature"}}'
    return {
        "All features": (
            Panel(
                "Population stability index over its limit",
                f"Of the last {slo.drift.window_days} days. Above 1 a feature has drifted.",
                (Query(over, "{{feature}} {{track}}"),),
                limit=1,
            ),
            Panel(
                "Rows compared",
                f"Below {drift.LEAST_ROWS} nobody is told.",
                (
                    Query(
                        f"min by (track, version) ({drift.ROWS}{{{CHOSEN}}})",
                        "{{version}} {{track}}",
                    ),
                ),
                kind="number",
            ),
            Panel(
                "Other tracks beside stable",
                "Population stability index of the last hour, where both have the same bins.",
                (Query(stable, "{{feature}} {{track}}"),),
                limit=slo.drift.psi,
            ),
        ),
        "One feature": (
            _bars("Distribution", "$feature", slo),
            Panel(
                "Index and its limit",
                "The limit is larger when few rows were asked.",
                (
                    Query(f'{drift.PSI}{{{CHOSEN},feature="$feature"}}', "{{track}}"),
                    Query(f'{drift.LIMIT}{{{CHOSEN},feature="$feature"}}', "limit {{track}}"),
                ),
            ),
            Panel("Shares of the last hour", "By bin.", (Query(hour, "{{bin}}"),), "percentunit"),
        ),
        "What is missing, unknown, refused": (
            _broken("Missing values", MISSING),
            _broken("Unknown values", OTHER),
            Panel(
                "Refused requests",
                "Of all, by field and reason of what is wrong with them.",
                (Query(f"{drift.REFUSED}{{{CHOSEN}}}", "{{field}}: {{reason}}"),),
                "percentunit",
                limit=drift.BAD_SHARE,
            ),
            Panel(
                "Values of other services that are missing or too old",
                "Of those that were wanted.",
                (Query(f"{drift.STALE}{{{CHOSEN}}}", "{{source}}"),),
                "percentunit",
                limit=drift.BAD_SHARE,
            ),
        ),
    }


def _business(slo: Slo) -> dict[str, tuple[Panel, ...]]:
    days = f"By the labels that came in the last {slo.drift.window_days} days."
    rate = f"sum by (outcome) ({_rate(series_of(metrics.LABELS_RECEIVED))})"
    whole = f'{CHOSEN},slice="{ALL}"'
    interval = f"{quality.NORMAL} * {quality.ERROR}{{{whole}}}"
    evaluated = f"max by (version) ({series_of(metrics.EVALUATION_LOSS)}{{{CHOSEN}}})"
    first = "true|right|above"
    seen = f'sum by (bin) ({quality.LABELS}{{{CHOSEN},label=~"{first}"}})'
    confidence = f"sum by (bin) ({quality.CONFIDENCE}{{{CHOSEN}}})"
    labels = f"sum by (bin) ({quality.LABELS}{{{CHOSEN}}}) > 0"
    return {
        "Value": (
            Panel(
                "Value of the decisions",
                f"{days} In the unit of [decision] in training.toml.",
                (Query(f"{quality.VALUE}{{{CHOSEN}}}", "{{version}} {{track}}"),),
                kind="number",
            ),
            Panel(
                "Value per labelled decision",
                days,
                (
                    Query(
                        f"{quality.VALUE}{{{CHOSEN}}} / "
                        f"(sum by (job, track, version) ({quality.DECISIONS}) > 0)",
                        "{{version}} {{track}}",
                    ),
                ),
            ),
            Panel(
                "Outcomes of decisions",
                days,
                (Query(f"sum by (outcome) ({quality.DECISIONS}{{{CHOSEN}}})", "{{outcome}}"),),
            ),
        ),
        "Quality": (
            Panel(
                "Loss",
                f"{days} With its 95 % interval; it is unknown where no labels come.",
                (
                    Query(f"{quality.LOSS}{{{whole}}}", "{{version}} {{track}}"),
                    Query(f"{quality.LOSS}{{{whole}}} - {interval}", "lower end {{version}}"),
                    Query(f"{quality.LOSS}{{{whole}}} + {interval}", "upper end {{version}}"),
                    Query(f"{quality.BASE_RATE}{{{whole}}}", "always the mean of training"),
                    Query(evaluated, "at evaluation {{version}}"),
                ),
            ),
            Panel(
                "Loss by slice",
                f"{days} Few labels say little.",
                (Query(f'{quality.LOSS}{{{CHOSEN},slice!="{ALL}"}}', "{{slice}} {{track}}"),),
            ),
            Panel(
                "Labels by slice",
                days,
                (Query(f'{quality.ROWS}{{{CHOSEN},slice!="{ALL}"}}', "{{slice}} {{track}}"),),
            ),
            Panel(
                "Calibration",
                f"{days} Fraction of positives, or of right classes, beside the mean predicted "
                "probability; of a number, of labels above the prediction.",
                (
                    Query(f"{seen} / ({labels})", "observed"),
                    Query(f"{confidence} / ({labels})", "predicted"),
                ),
                "percentunit",
                "bars",
            ),
        ),
        "Labels": (
            Panel(
                "Labels received",
                "Joined to a prediction, known, changed, waiting for one, or failed.",
                (Query(rate, "{{outcome}}"),),
                "rowsps",
            ),
            _by(
                "Predictions that wait for labels",
                "Kept or lost.",
                metrics.KEPT,
                "outcome",
                "rowsps",
            ),
            Panel(
                "Labelled predictions",
                days,
                (Query(f"{quality.ROWS}{{{whole}}}", "{{version}} {{track}}"),),
                kind="number",
            ),
        ),
    }


def _broken(title: str, name: str) -> Panel:
    share = f'{drift.RECENT_SHARE}{{{CHOSEN},bin="{name}"}}'
    return Panel(
        title, "Share of the rows of the last hour.", (Query(share, "{{feature}}"),), "percentunit"
    )


def _bars(title: str, feature: str, slo: Slo) -> Panel:
    where = f'{{{CHOSEN},feature="{feature}"}}'
    return Panel(
        title,
        f"Of the rows of the last {slo.drift.window_days} days and of those of training.",
        (
            Query(f"max by (bin) ({drift.SHARE}{where})", "now"),
            Query(f"max by (bin) ({drift.TRAINED}{where})", "training"),
        ),
        "percentunit",
        "bars",
    )


def _by(title: str, words: str, metric: Counter, label: str, unit: Unit) -> Panel:
    rate = f"sum by ({label}) ({_rate(series_of(metric))})"
    return Panel(title, words, (Query(rate, f"{{{{{label}}}}}"),), unit)


def _rate(series: str) -> str:
    return f"rate({series}{{{CHOSEN}}}[{RATE}])"


def _quantile(quantile: float, histogram: str, *labels: str) -> str:
    by = ", ".join(("le", *labels))
    return f"histogram_quantile({quantile:g}, sum by ({by}) ({_rate(f'{histogram}_bucket')}))"
