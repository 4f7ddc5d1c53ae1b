"""YOURS: the features and the label, declared once.

Everything else derives from the two classes below: the request model and its OpenAPI document,
the checks that quarantine bad rows, the inputs of the ONNX graph, the example payload and
docs/data-contract.md. To serve another model, replace them, `raw.py` and `features.py`.

Text becomes a categorical feature, numbers become numeric ones. `| None` allows a missing value.
The type of the label says what is predicted: of a boolean the probability that it is true, of a
Literal that of each class, of a number its value.
Bounds say what is possible, not what is usual: a value outside them is refused. `PERSONAL` from
`ml_chassis.personal`, beside `Field(...)`, keeps the values out of logs, reports and metrics.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Airport = Literal["EWR", "JFK", "LGA"]


class Features(BaseModel):
    """What is known about a flight two hours before the hour of its scheduled departure."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    carrier: Annotated[
        str,
        Field(pattern="^[0-9A-Z]{2}$", description="Airline, as its IATA code.", examples=["UA"]),
    ]
    origin: Annotated[
        Airport,
        Field(description="Airport of departure.", examples=["EWR"]),
    ]
    destination: Annotated[
        str,
        Field(pattern="^[A-Z]{3}$", description="Airport of arrival.", examples=["IAH"]),
    ]
    departure_hour: Annotated[
        int,
        Field(ge=0, le=23, description="Scheduled local hour of departure.", examples=[17]),
    ]
    weekday: Annotated[
        int,
        Field(ge=1, le=7, description="Day of the week, Monday is 1.", examples=[5]),
    ]
    distance: Annotated[
        float,
        Field(gt=0, le=12_000, description="Distance to the destination, miles.", examples=[1400]),
    ]
    seats: Annotated[
        int | None,
        Field(ge=1, le=900, description="Seats of the plane.", examples=[149]),
    ] = None
    plane_age: Annotated[
        int | None,
        Field(ge=0, le=80, description="Age of the plane, years.", examples=[12]),
    ] = None
    temperature: Annotated[
        float | None,
        Field(ge=-60, le=130, description="Air temperature, °F.", examples=[71.6]),
    ] = None
    dew_point: Annotated[
        float | None,
        Field(ge=-80, le=100, description="Dew point, °F.", examples=[64.4]),
    ] = None
    humidity: Annotated[
        float | None,
        Field(ge=0, le=100, description="Relative humidity, percent.", examples=[78.1]),
    ] = None
    wind_speed: Annotated[
        float | None,
        Field(ge=0, le=200, description="Wind speed, mph.", examples=[12.7]),
    ] = None
    wind_gust: Annotated[
        float | None,
        Field(ge=0, le=250, description="Wind gust, mph; missing when calm.", examples=[25.3]),
    ] = None
    precipitation: Annotated[
        float | None,
        Field(ge=0, le=15, description="Rain or snow in the hour, inches.", examples=[0.04]),
    ] = None
    pressure: Annotated[
        float | None,
        Field(ge=870, le=1090, description="Pressure at sea level, hPa.", examples=[1009.8]),
    ] = None
    visibility: Annotated[
        float | None,
        Field(ge=0, le=100, description="Visibility, miles.", examples=[8.0]),
    ] = None


class LabelledFeatures(Features):
    """Features together with what turned out to be true."""

    late: Annotated[
        bool,
        Field(description="The flight left more than 15 minutes after schedule.", examples=[True]),
    ]
