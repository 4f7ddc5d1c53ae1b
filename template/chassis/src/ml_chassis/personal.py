"""What marks a feature as personal: its values are then in no log, report or metric."""

from typing import Any

from pydantic import Field

KEYWORD = "x-personal"
"""In the JSON schema of a feature, and so in the OpenAPI document."""
PERSONAL: Any = Field(json_schema_extra={KEYWORD: True})
"""Stands beside the `Field` of a feature in schema.py: `Annotated[str, Field(...), PERSONAL]`."""
MASK = "***"
"""Stands where a personal value would."""
