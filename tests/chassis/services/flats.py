"""A service of which the label is a number: the rent of a flat."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Features(BaseModel):
    """What is known about a flat."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    kind: Annotated[
        Literal["attic", "cellar", "loft"], Field(description="Where it is.", examples=["loft"])
    ]
    size: Annotated[float, Field(gt=0, le=500, description="Area, m².", examples=[64.5])]
    floor: Annotated[int, Field(ge=-2, le=60, description="Floors above ground.", examples=[4])]
    age: Annotated[
        float | None, Field(ge=0, le=200, description="Age of the house, years.", examples=[31.5])
    ] = None


class LabelledFeatures(Features):
    """The same, and what turned out to be true."""

    rent: Annotated[float, Field(ge=0, le=10_000, description="Rent, euros.", examples=[780])]
