"""What the Prometheus operator makes of a PodMonitor: a scrape configuration of Prometheus.

As https://github.com/prometheus-operator/prometheus-operator does, for what ours uses.
"""

import re
from collections.abc import Mapping
from typing import Any

META = "__meta_kubernetes_"
Labels = dict[str, str]


def scrape_configs(monitor: Mapping[str, Any], namespace: str) -> list[dict[str, Any]]:
    """Return a configuration for each of its endpoints, but for where the pods are found."""
    spec, name = monitor["spec"], f"{namespace}/{monitor['metadata']['name']}"
    return [
        {
            "job_name": f"podMonitor/{name}/{number}",
            "honor_labels": endpoint.get("honorLabels", False),
            "metrics_path": endpoint.get("path", "/metrics"),
            "relabel_configs": [
                *(
                    _keep(_label(key), value)
                    for key, value in spec["selector"]["matchLabels"].items()
                ),
                _keep(f"{META}pod_container_port_name", endpoint["port"]),
                _copy(f"{META}namespace", "namespace"),
                _copy(f"{META}pod_container_name", "container"),
                _copy(f"{META}pod_name", "pod"),
                *(_copy(_label(key), _safe(key)) for key in spec.get("podTargetLabels", [])),
                {"target_label": "job", "replacement": name},
                *([_copy(_label(spec["jobLabel"]), "job")] if "jobLabel" in spec else []),
                {"target_label": "endpoint", "replacement": endpoint["port"]},
                *map(_in_snake_case, endpoint.get("relabelings", [])),
            ],
            "metric_relabel_configs": [*map(_in_snake_case, endpoint.get("metricRelabelings", []))],
        }
        for number, endpoint in enumerate(spec["podMetricsEndpoints"])
    ]


def discovered(pod: str, labels: Labels, namespace: str, port: str) -> Labels:
    """Return what Prometheus finds out about a port of a pod."""
    return {
        f"{META}namespace": namespace,
        f"{META}pod_name": pod,
        f"{META}pod_container_name": "service",
        f"{META}pod_container_port_name": port,
        **{_label(key): value for key, value in labels.items()},
    }


def _label(key: str) -> str:
    return f"{META}pod_label_{_safe(key)}"


def _safe(key: str) -> str:
    return re.sub(r"\W", "_", key, flags=re.ASCII)


def _keep(source: str, value: str) -> dict[str, Any]:
    return {
        "action": "keep",
        "source_labels": [source],
        "regex": re.escape(value).replace("\\-", "-"),
    }


def _copy(source: str, target: str) -> dict[str, Any]:
    """Set a label where there is a value."""
    return {"source_labels": [source], "target_label": target, "regex": "(.+)"}


def _in_snake_case(rule: Mapping[str, Any]) -> dict[str, Any]:
    """Return a rule of the operator as Prometheus writes it."""
    return {
        re.sub(r"[A-Z]", lambda found: f"_{found[0].lower()}", key): value
        for key, value in rule.items()
    }
