"""What a service is made of: the parts that are its team's, found by `[tool.chassis]`."""

import tomllib
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, cast

from .contract import Contract
from .errors import UserError, why

if TYPE_CHECKING:  # the image has neither FastAPI's routes nor a training library at hand
    from fastapi import FastAPI

    from .data.tables import RawTable
    from .serving.runtime import Runtime
    from .training.estimator import Estimator

PYPROJECT = "pyproject.toml"
Part = Literal["schema", "tables", "features", "estimator", "service", "routes"]
PARTS: tuple[Part, ...] = ("schema", "tables", "features", "estimator", "service", "routes")
REQUIRED: tuple[Part, ...] = ("schema", "tables", "features", "estimator", "service")


class ProjectError(UserError):
    """A part of the service is missing, or is not what it should be."""


@dataclass(frozen=True)
class Project:
    """A service: what its parts are, each a module that is imported when it is first needed.

    Attributes:
        name: Name of the distribution.
        parts: The module of each part, by dotted name:
            schema has `Features` and `LabelledFeatures`, Pydantic models;
            tables has `TABLES` and may have `LOOKBACK`, a timedelta;
            features has `TIME`, `KEYS`, `build` and may have `PERSONAL_KEYS`;
            estimator has `Parameters`, `PACKAGES`, `fit` and may have `smaller`;
            service has `ModelService`, what `create_service` made;
            routes has `create_web`, and may be absent.
    """

    name: str
    parts: Mapping[Part, str]

    @cached_property
    def contract(self) -> Contract:
        """What follows from the schema.

        Raises:
            ProjectError: the schema is missing or cannot be used.
        """
        module = self._module("schema")
        try:
            return Contract(module.Features, module.LabelledFeatures)
        except (AttributeError, TypeError) as error:
            raise ProjectError(f"{self.path('schema')}: {error}") from None

    @cached_property
    def tables(self) -> tuple["RawTable", ...]:
        """The raw tables.

        Raises:
            ProjectError: as for `time`.
        """
        found = self._get("tables", "TABLES")
        # By its name: what it is, is known above this layer.
        if not isinstance(found, tuple | list) or {type(each).__name__ for each in found} != {
            "RawTable"
        }:
            raise self._wrong("tables", "TABLES", "a tuple of RawTable")
        return tuple(found)

    @cached_property
    def lookback(self) -> timedelta:
        """How far before a row's time the raw rows may lie of which its features are made.

        Raises:
            ProjectError: as for `time`.
        """
        found = getattr(self._module("tables"), "LOOKBACK", timedelta())
        if not isinstance(found, timedelta) or found < timedelta():
            raise self._wrong("tables", "LOOKBACK", "a timedelta of 0 or more")
        return found

    @cached_property
    def time(self) -> str | None:
        """The column that says when a row is about; None: rows know no time.

        Raises:
            ProjectError: the module is missing, cannot be imported, or says something else.
        """
        found = self._get("features", "TIME")
        if found is not None and found not in self.keys:
            raise self._wrong("features", "TIME", f"one of KEYS, {', '.join(self.keys)}, or None")
        return cast(str | None, found)

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The columns that name a row; they are no features.

        Raises:
            ProjectError: as for `time`.
        """
        found = self._names("KEYS", self._get("features", "KEYS"))
        if features := [name for name in found if name in self.contract.by_name]:
            others = f"columns that are no features, as {', '.join(features)} is"
            raise self._wrong("features", "KEYS", others)
        return found

    @cached_property
    def personal_keys(self) -> tuple[str, ...]:
        """Those of them whose values are personal.

        Raises:
            ProjectError: as for `time`.
        """
        return self._names("PERSONAL_KEYS", getattr(self._module("features"), "PERSONAL_KEYS", ()))

    @cached_property
    def personal_columns(self) -> frozenset[str]:
        """The personal columns of rows with features."""
        return frozenset({*self.contract.personal, *self.personal_keys})

    @cached_property
    def private(self) -> bool:
        """Whether any row of the project holds personal values."""
        return bool(self.personal_columns) or any(table.personal for table in self.tables)

    @property
    def build(self) -> Callable[[Mapping[str, Any]], Any]:
        """What makes rows with features from raw tables."""
        return cast(Callable[[Mapping[str, Any]], Any], self._get("features", "build"))

    @cached_property
    def estimator(self) -> "Estimator":
        """What is fitted."""
        for name in ("PACKAGES", "Parameters", "fit"):
            self._get("estimator", name)
        return cast("Estimator", self._module("estimator"))

    @cached_property
    def service(self) -> Any:
        """The BentoML service."""
        return self._get("service", "ModelService")

    @property
    def estimator_name(self) -> str:
        """What the estimator is called in reports and manifests."""
        return self.parts["estimator"].rpartition(".")[2]

    def source_files(self) -> list[Path]:
        """Return the Python files of the packages in which the parts are, sorted."""
        found: set[Path] = set()
        for part in self.parts:
            spec = find_spec(self.parts[part])
            if spec and spec.origin:
                found |= set(Path(spec.origin).parent.rglob("*.py"))
        return sorted(found)

    def create_web(self, runtime: "Runtime") -> "FastAPI | None":
        """Return the routes of the team, where it has some."""
        if "routes" not in self.parts:
            return None
        return cast("FastAPI", self._get("routes", "create_web")(runtime))

    def path(self, part: Part) -> str:
        """Return the file of a part, as messages name it."""
        return f"src/{self.parts[part].replace('.', '/')}.py"

    def _names(self, name: str, found: Any) -> tuple[str, ...]:
        if not isinstance(found, tuple | list) or not all(isinstance(each, str) for each in found):
            raise self._wrong("features", name, "a tuple of names of columns")
        return tuple(found)

    def _wrong(self, part: Part, name: str, wanted: str) -> ProjectError:
        return ProjectError(f"{self.path(part)}: {name} must be {wanted}.")

    def _get(self, part: Part, name: str) -> Any:
        try:
            return getattr(self._module(part), name)
        except AttributeError:
            page = "docs/project.md of the chassis"
            raise ProjectError(f"{self.path(part)} has no {name}; see {page}.") from None

    def _module(self, part: Part) -> ModuleType:
        if part not in self.parts:
            raise ProjectError(f"{PYPROJECT}: [tool.chassis] names no {part}.")
        try:
            return import_module(self.parts[part])
        except ModuleNotFoundError as error:
            if error.name and self.parts[part].startswith(error.name):
                message = f"{PYPROJECT}: [tool.chassis] {part}: there is no {self.parts[part]}."
                raise ProjectError(message) from None
            raise
        except UserError:
            raise
        except Exception as error:
            raise ProjectError(f"{_place(error, self.path(part))}: {error!r}") from error


def _place(error: Exception, default: str) -> str:
    """Return the line of the team's code in which an error arose, as an editor opens it."""
    lines = [(each.filename, each.lineno) for each in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        lines.append((error.filename, error.lineno))
    here = Path.cwd()
    for name, line in reversed(lines):
        path = Path(name)
        if path.is_relative_to(here / "src"):
            return f"{path.relative_to(here).as_posix()}:{line}"
    return default


def read(folder: Path = Path()) -> Project:
    """Return the project of a folder, by its pyproject.toml.

    Raises:
        ProjectError: there is none, or what it says cannot be used.
    """
    path = folder / PYPROJECT
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ProjectError(f"There is no {path}: call it in the root of the project.") from None
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ProjectError(f"{path}: {why(error)}") from None
    parts = content.get("tool", {}).get("chassis")
    if not isinstance(parts, dict):
        raise ProjectError(f"{path}: there is no [tool.chassis], which names the parts.")
    problems = [f"{name} is not one of {', '.join(PARTS)}" for name in parts if name not in PARTS]
    problems += [f"{name} is missing" for name in REQUIRED if name not in parts]
    problems += [
        f"{name}: give a module, such as model_service.{name}"
        for name, module in parts.items()
        if not isinstance(module, str) or not all(part.isidentifier() for part in module.split("."))
    ]
    if problems:
        raise ProjectError(f"{path}: [tool.chassis]: {'; '.join(problems)}.")
    return Project(content.get("project", {}).get("name", "service"), parts)
