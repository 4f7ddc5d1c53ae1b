"""A service of which the label is one of three classes: the grade of an apple."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Features(BaseModel):
    """What is known about an apple."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    kind: Annotated[
        Literal["Braeburn", "Elstar"], Field(description="Its cultivar.", examples=["Elstar"])
    ]
    age: Annotated[int, Field(ge=0, le=300, description="Days in store.", examples=[45])]
    weight: Annotated[float, Field(gt=0, le=900, description="Weight, grams.", examples=[182.5])]


class LabelledFeatures(Features):
    """The same, and what turned out to be true."""

    grade: Annotated[
        Literal["extra", "first", "second"], Field(description="Its grade.", examples=["first"])
    ]
