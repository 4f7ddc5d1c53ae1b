"""The dashboards as Grafana reads them, 10.1 and later."""

from collections.abc import Callable

from grafana_foundation_sdk.builders import barchart, common, prometheus, stat, timeseries
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.common import BigValueColorMode, GraphTresholdsStyleMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from .panels import TRACK, Dashboard, Kind, Panel, Query

Chart = timeseries.Panel | stat.Panel | barchart.Panel

SOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
HEIGHT, WIDTH = 8, 8
"""A row has 24 columns."""
UNITS = {"rowsps": "rps"}
"""Of ours, those that Grafana calls otherwise."""


def render(dashboard: Dashboard, title: str) -> str:
    """Return the file of a dashboard."""
    built = (
        build.Dashboard(title)
        .tags(["model-service"])
        .time("now-6h", "now")
        .refresh("1m")
        .with_variable(build.DatasourceVariable("datasource").type("prometheus"))
    )
    for label, series in dashboard.chosen.items():
        built.with_variable(_choice(label, series))
    for section, panels in dashboard.sections.items():
        built.with_row(build.Row(section))
        for panel in panels:
            built.with_panel(_panel(panel))
    return JSONEncoder(sort_keys=True, indent=2).encode(built.build()) + "\n"


def _choice(label: str, series: str) -> build.QueryVariable:
    choice = (
        build.QueryVariable(label)
        .datasource(SOURCE)
        .query(f"label_values({series}, {label})")
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
    )
    return choice.multi(True).include_all(True) if label == TRACK else choice


def _panel(panel: Panel) -> Chart:
    kinds: dict[Kind, Callable[[Panel], Chart]]
    kinds = {"lines": _lines, "number": _number, "bars": _bars}
    return (
        kinds[panel.kind](panel)
        .title(panel.title)
        .description(panel.words)
        .datasource(SOURCE)
        .unit(UNITS.get(panel.unit, panel.unit))
        .height(HEIGHT)
    )


def _lines(panel: Panel) -> timeseries.Panel:
    lines = timeseries.Panel().span(WIDTH).targets([*_asked(panel)])
    if panel.limit is None:
        return lines
    style = common.GraphThresholdsStyleConfig().mode(GraphTresholdsStyleMode.DASHED)
    return lines.thresholds(_limit(panel.limit)).thresholds_style(style)


def _number(panel: Panel) -> stat.Panel:
    number = stat.Panel().span(WIDTH).targets([each.instant() for each in _asked(panel)])
    number.color_mode(BigValueColorMode.VALUE)
    return number if panel.limit is None else number.thresholds(_limit(panel.limit))


def _bars(panel: Panel) -> barchart.Panel:
    """Return bars side by side: a table of a query has its values in a column of its own."""
    asked = [each.instant().format(PromQueryFormat.TABLE) for each in _asked(panel)]
    names = {f"Value #{_letter(at)}": query.legend for at, query in enumerate(panel.queries)}
    times = {f"Time {at + 1}": True for at in range(len(asked))}
    steps = {
        "joinByField": {"byField": "bin", "mode": "outer"},
        "organize": {"excludeByName": times, "renameByName": names},
    }
    bars = barchart.Panel().span(2 * WIDTH).targets([*asked]).x_field("bin")
    return bars.transformations(
        [
            model.DataTransformerConfig(id_val=name, options=options)
            for name, options in steps.items()
        ]
    )


def _asked(panel: Panel) -> list[prometheus.Dataquery]:
    return [_query(query, at) for at, query in enumerate(panel.queries)]


def _query(query: Query, at: int) -> prometheus.Dataquery:
    asked = prometheus.Dataquery().expr(query.expr).legend_format(query.legend)
    return asked.ref_id(_letter(at)).datasource(SOURCE)


def _letter(at: int) -> str:
    return chr(ord("A") + at)


def _limit(value: float) -> build.ThresholdsConfig:
    steps = [model.Threshold(color="green"), model.Threshold(value, "red")]
    return build.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps)
