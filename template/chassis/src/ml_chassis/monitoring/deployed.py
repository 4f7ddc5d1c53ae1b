"""Whether the files in deploy/ have the budget and the weights of slo.yaml.

They are a team's own: what one does not have, or says in another way, is not compared.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from ..slo import SLO, Budget, Slo

COMPOSE = Path("deploy/compose.yaml")
SMOKE = Path("deploy/smoke.sh")
KUBERNETES = Path("deploy/kubernetes")
NAME = "service"
"""Of the service in Compose, and of its container in Kubernetes."""
QUANTITY = re.compile(r"([\d.]+)\s*([a-zA-Z]*)")
SIZES = {
    **{unit: 2 ** (10 * power) for power, unit in enumerate(("", "ki", "mi", "gi"))},
    **{unit: 1_000**power for power, unit in enumerate(("", "k", "m", "g"))},
}
"""Bytes of a unit of Kubernetes; Docker's are all powers of 1,024."""


def problems(slo: Slo) -> Iterator[str]:
    """Yield what disagrees in the files of the working folder: file, value, fix."""
    if COMPOSE.exists():
        yield from (f"{COMPOSE}: {each}" for each in _of_compose(slo, _objects(COMPOSE)))
    if SMOKE.exists():
        script = SMOKE.read_text(encoding="utf-8")
        yield from (f"{SMOKE}: {each}" for each in _of_docker(slo.budget, _options(script)))
    for path in sorted(KUBERNETES.rglob("*.yaml")):
        yield from (f"{path}: {each}" for each in of_manifests(slo, _objects(path)))


def of_manifests(slo: Slo, manifests: Iterable[Any]) -> Iterator[str]:
    """Yield what disagrees in objects of Kubernetes, as YAML or JSON has them."""
    for each in manifests:
        kind, spec = _at(each, "kind"), _at(each, "spec")
        if kind == "Deployment":
            for container in _at(spec, "template", "spec", "containers") or ():
                if _at(container, "name") == NAME:
                    yield from _of_container(slo.budget, _at(container, "resources"))
        elif kind == "Rollout":
            yield from _of_release(slo, _at(spec, "strategy", "canary", "steps") or ())


def _of_compose(slo: Slo, documents: Iterable[Any]) -> Iterator[str]:
    for each in documents:
        yield from _of_docker(slo.budget, _at(each, "services", NAME))


def _of_docker(budget: Budget, found: Any) -> Iterator[str]:
    mib, most = budget.memory_mib, budget.cpu_cores_limit
    for name in ("mem_limit", "--memory"):
        memory = _at(found, name)
        yield from _differs(name, memory, _docker_bytes(memory), f"{mib}m", mib * 2**20)
    for name in ("cpus", "--cpus"):
        cores = _at(found, name)
        yield from _differs(name, cores, _cores(cores), f"{most:g}", most)


def _options(script: str) -> dict[str, str]:
    """Return the options of `docker run` in a script, with their values."""
    return dict(re.findall(r"(--(?:memory|cpus))[ =](\S+)", script))


def _of_container(budget: Budget, resources: Any) -> Iterator[str]:
    mib = budget.memory_mib
    for kind in ("requests", "limits"):
        found, name = _at(resources, kind, "memory"), f"resources.{kind}.memory"
        yield from _differs(name, found, _bytes(found), f"{mib}Mi", mib * 2**20)
    reserved = {"requests": budget.cpu_cores, "limits": budget.cpu_cores_limit}
    for kind, cores in reserved.items():
        found, name = _at(resources, kind, "cpu"), f"resources.{kind}.cpu"
        yield from _differs(name, found, _cores(found), f"{1_000 * cores:g}m", cores)


def _of_release(slo: Slo, steps: Iterable[Any]) -> Iterator[str]:
    found = [each["setWeight"] for each in steps if _at(each, "setWeight") is not None]
    stated = slo.release.weights
    if found and found != stated:
        yield f"setWeight is {found}, and by {SLO} {stated}: change the one that is wrong"


def _differs(
    name: str, found: Any, measured: float | None, written: str, stated: float
) -> Iterator[str]:
    if found is not None and measured != stated:
        yield f"{name} is {found}, and by {SLO} {written}: change the one that is wrong"


def _cores(found: Any) -> float | None:
    """Return a number that may have the unit m, a thousandth; None where it is none."""
    number, unit = _quantity(found)
    return number if not unit else number / 1_000 if number and unit == "m" else None


def _bytes(found: Any) -> float | None:
    number, unit = _quantity(found)
    size = SIZES.get(unit.lower())
    return None if number is None or size is None else number * size


def _docker_bytes(found: Any) -> float | None:
    number, unit = _quantity(found)
    size = SIZES.get(f"{short}i" if (short := unit.lower().removesuffix("b")) else "")
    return None if number is None or size is None else number * size


def _quantity(found: Any) -> tuple[float | None, str]:
    parts = QUANTITY.fullmatch(str(found))
    try:
        return (float(parts[1]), parts[2]) if parts else (None, "")
    except ValueError:
        return None, ""


def _objects(path: Path) -> list[Any]:
    """Return the documents of a file; one that is no YAML, as a template may be, has none."""
    try:
        return [*yaml.safe_load_all(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, yaml.YAMLError):
        return []


def _at(data: Any, *names: str) -> Any:
    """Return what stands at a place, or None where there is no such place."""
    for name in names:
        data = data.get(name) if isinstance(data, dict) else None
    return data
