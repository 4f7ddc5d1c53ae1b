"""Find changes of the HTTP interface that break clients: `make contract`.

docs/openapi.json is the interface that clients know. What they send must still be accepted, and
what they get must still be what they understand. An addition is written to the file; a change that
breaks them is refused until it is accepted with `make contract ACCEPT=yes`.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import jsoncompat

from .project import Project
from .serving.openapi import document
from .serving.runtime import Runtime
from .settings import Settings

CONTRACT = Path("docs/openapi.json")
METHODS = {"get", "put", "post", "delete", "patch"}
DEFINITIONS = "#/components/schemas/"

Schema = dict[str, Any]
Side = Literal["deserializer", "serializer"]
"""Who is the service in this: the reader of requests, or the writer of answers."""


def run(project: Project, accept: bool = False) -> int:
    """Compare, write what may be written, and return the exit code."""
    current = interface(project)
    known = json.loads(CONTRACT.read_text(encoding="utf-8")) if CONTRACT.exists() else current
    found = list(breaking_changes(known, current))
    for change in found:
        print(f"breaks clients: {change}")
    if found and not accept:
        print(f"{CONTRACT} was left as it is. To accept it: make contract ACCEPT=yes")
        return 1
    print(f"{CONTRACT} {'was written: commit it' if write(current) else 'is current'}.")
    return 0


def write(document: Schema) -> bool:
    """Write an interface as the one that clients know; return whether it was another."""
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    changed = not CONTRACT.exists() or CONTRACT.read_text(encoding="utf-8") != text
    CONTRACT.write_text(text, encoding="utf-8")
    return changed


def interface(project: Project) -> Schema:
    """Return the OpenAPI document of a service with default settings."""
    runtime = Runtime(project.contract, Settings.model_construct())
    return document(project.contract, web=project.create_web(runtime))


def breaking_changes(old: Schema, new: Schema) -> Iterator[str]:
    """Yield what a client of the old OpenAPI document cannot do or understand any more."""
    for path, methods in old["paths"].items():
        for method in METHODS & methods.keys():
            at, operation = f"{method.upper()} {path}", methods[method]
            changed = new["paths"].get(path, {}).get(method)
            if changed is None:
                yield f"{at}: is gone"
                continue
            compare = _Comparison(old, new, "deserializer")
            yield from _parameters(operation, changed, at)
            yield from _contents(
                compare, operation.get("requestBody"), changed.get("requestBody"), f"{at}: request"
            )
            compare = _Comparison(old, new, "serializer")
            for status, response in operation["responses"].items():
                if status.startswith("2"):
                    answer = changed["responses"].get(status)
                    yield from _contents(compare, response, answer, f"{at}: answer {status}")


def _parameters(old: Schema, new: Schema, at: str) -> Iterator[str]:
    known = {parameter["name"] for parameter in old.get("parameters", [])}
    for parameter in new.get("parameters", []):
        if parameter.get("required") and parameter["name"] not in known:
            yield f"{at}: the parameter {parameter['name']} is required"


def _contents(
    compare: "_Comparison", old: Schema | None, new: Schema | None, at: str
) -> Iterator[str]:
    for media_type, content in (old or {}).get("content", {}).items():
        changed = (new or {}).get("content", {}).get(media_type)
        if changed is None:
            yield f"{at}: no {media_type} any more"
        else:
            yield from compare.schemas(content["schema"], changed["schema"], at, frozenset())


class _Comparison:
    """Compares schemas of two documents, seen from one side."""

    def __init__(self, old: Schema, new: Schema, side: Side) -> None:
        self._old = old["components"]["schemas"]
        self._new = new["components"]["schemas"]
        self._side = side

    def schemas(self, old: Schema, new: Schema, at: str, seen: frozenset[str]) -> Iterator[str]:
        """Yield the innermost places at which the new schema does not fit the old one."""
        if old.get("$ref", "") in seen:
            return
        seen |= {old["$ref"]} if "$ref" in old else set()
        old, new = _resolve(old, self._old), _resolve(new, self._new)
        inside = list(self._parts(old, new, at, seen))
        yield from inside
        if old.get("pattern") != new.get("pattern"):  # jsoncompat does not compare patterns
            yield f"{at}: another pattern"
        elif not inside and not self._fits(old, new):
            yield from (f"{at}: {reason}" for reason in self._reasons(old, new))

    def _parts(self, old: Schema, new: Schema, at: str, seen: frozenset[str]) -> Iterator[str]:
        properties = new.get("properties", {})
        for name, schema in old.get("properties", {}).items():
            if name in properties:
                yield from self.schemas(schema, properties[name], f"{at}.{name}", seen)
        if isinstance(old.get("items"), dict) and isinstance(new.get("items"), dict):
            yield from self.schemas(old["items"], new["items"], f"{at}[]", seen)
        for before, after in zip(old.get("anyOf", []), new.get("anyOf", []), strict=False):
            yield from self.schemas(before, after, at, seen)

    def _fits(self, old: Schema, new: Schema) -> bool:
        before, after = _with_definitions(old, self._old), _with_definitions(new, self._new)
        fits: bool = jsoncompat.check_compat(before, after, self._side)
        return fits

    def _reasons(self, old: Schema, new: Schema) -> list[str]:
        refuses = self._side == "deserializer"
        reasons = []
        required = set(new.get("required", [])) - set(old.get("required", []))
        if refuses and required:
            reasons.append(f"{', '.join(sorted(required))} must be given")
        if gone := set(old.get("properties", {})) - set(new.get("properties", {})):
            reasons.append(f"{', '.join(sorted(gone))} is gone")
        if reasons:
            return reasons
        return [f"values are {'refused that were accepted' if refuses else 'given that were not'}"]


def _with_definitions(schema: Schema, definitions: Schema) -> str:
    if DEFINITIONS not in json.dumps(schema):  # most: to read the definitions each time takes long
        return json.dumps(schema)
    return json.dumps({**schema, "$defs": definitions}).replace(DEFINITIONS, "#/$defs/")


def _resolve(schema: Schema, definitions: Schema) -> Schema:
    while "$ref" in schema:
        schema = definitions[schema["$ref"].removeprefix(DEFINITIONS)]
    return schema
