"""The public API is there, and says what it is."""

import importlib
import inspect

import pytest

from ml_chassis import PUBLIC

NAMES = [(module, name) for module, names in PUBLIC.items() for name in names]


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_it_is_there_with_a_docstring(module: str, name: str) -> None:
    found = getattr(importlib.import_module(f"ml_chassis.{module}"), name)
    assert not (inspect.isclass(found) or inspect.isroutine(found)) or found.__doc__
