"""A service of which the label is true or false: whether a pump fails within a week."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Features(BaseModel):
    """What is known about a pump."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    kind: Annotated[Literal["gear", "vane"], Field(description="How it pumps.", examples=["vane"])]
    fluid: Annotated[
        Literal["oil", "water"] | None, Field(description="What it pumps.", examples=["oil"])
    ] = None
    age: Annotated[int, Field(ge=0, le=40, description="Age, years.", examples=[12])]
    pressure: Annotated[float, Field(ge=0, le=400, description="Pressure, bar.", examples=[210.5])]


class LabelledFeatures(Features):
    """The same, and what turned out to be true."""

    fails: Annotated[bool, Field(description="It failed within a week.", examples=[True])]
