"""Draw the results: python plot.py results.json results.svg"""

import json
import sys
from pathlib import Path
from statistics import median

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

COLOURS = {"ours": "#0b6e4f", "competitor": "#c1666b", "limit": "#9a9a9a"}
PANELS = [
    ("requests_per_second", "requests per second (more is better)"),
    ("p99_ms", "99th percentile of latency, ms (less is better)"),
]
ROWS, CLIENTS = 1, 64


def main() -> None:
    """Read the results and write the picture."""
    source, target = map(Path, sys.argv[1:])
    results = json.loads(source.read_text())
    plt.rcParams.update({"svg.hashsalt": "benchmarks", "font.size": 9})
    figure, axes = plt.subplots(1, 2, sharey=True, figsize=(10, 4.2), layout="constrained")
    for panel, (measure, label) in zip(axes, PANELS, strict=True):
        draw(panel, results, measure, label)
    figure.suptitle(f"{ROWS} row in a request, {CLIENTS} clients; logarithmic scales")
    figure.savefig(target, metadata={"Date": None})


def draw(panel: Axes, results: dict, measure: str, label: str) -> None:
    """Draw one bar for each server, the fastest on top; none where a slice had errors."""
    speed, shown = medians(results, "requests_per_second"), medians(results, measure)
    names = sorted(speed, key=lambda name: speed[name])
    servers = [results["servers"][name] for name in names]
    bars = panel.barh(
        [server["title"] for server in servers],
        [shown[name] for name in names],
        color=[COLOURS[server["role"]] for server in servers],
    )
    panel.bar_label(bars, fmt="{:,.0f}", padding=3)
    panel.set_xscale("log")
    panel.xaxis.set_major_formatter("{x:,g}")
    panel.set_xlabel(label)
    panel.margins(x=0.2)
    panel.spines[["top", "right"]].set_visible(False)


def medians(results: dict, measure: str) -> dict[str, float]:
    """Return the median over the rounds of each server that made no error."""
    slices = [s for s in results["slices"] if (s["rows"], s["clients"]) == (ROWS, CLIENTS)]
    spoilt = {s["server"] for s in slices if s["errors"] or not s["requests"]}
    return {
        name: median(s[measure] for s in slices if s["server"] == name)
        for name in {s["server"] for s in slices} - spoilt
    }


if __name__ == "__main__":
    main()
