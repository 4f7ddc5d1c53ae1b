"""A project in one module, its schema, raw tables and features: orders that are late or not.

Its rows know no time. What is known of customers is another table, and their names are personal.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import narwhals.stable.v2 as nw
import polars as pl
from narwhals.stable.v2.typing import IntoFrame
from pydantic import BaseModel, ConfigDict, Field

from ml_chassis.data.tables import RawTable
from ml_chassis.personal import PERSONAL
from ml_chassis.project import Project

ORDERS = RawTable(
    "orders",
    "orders.parquet",
    {
        "number": int,
        "customer": str,
        "city": str,
        "name": str,
        "weight": float,
        "price": float,
        "late": bool,
    },
    key=("number",),
)
CUSTOMERS = RawTable(
    "customers", "customers.parquet", {"customer": str, "segment": str}, key=("customer",)
)
TABLES = (ORDERS, CUSTOMERS)
TIME = None
KEYS = ("number",)


class Features(BaseModel):
    """What is known of an order."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    city: Annotated[str, Field(max_length=20, description="Where to.", examples=["Rome"])]
    name: Annotated[str, Field(max_length=20, description="Whose.", examples=["Eve"]), PERSONAL]
    segment: Annotated[
        str | None, Field(max_length=20, description="Of the customer.", examples=["b"])
    ] = None
    weight: Annotated[float, Field(ge=0, le=999, description="Weight, kg.", examples=[2.5])]
    price: Annotated[float, Field(ge=0, le=999, description="Price, EUR.", examples=[9.5])]


class LabelledFeatures(Features):
    """The same, and what turned out to be true."""

    late: Annotated[bool, Field(description="It came late.", examples=[True])]


def build(tables: Mapping[str, IntoFrame]) -> nw.LazyFrame[Any]:
    """Return orders with what is known of their customers."""
    customers = nw.from_native(tables["customers"]).lazy()
    orders = nw.from_native(tables["orders"]).lazy()
    return orders.join(customers, on="customer", how="left").drop("customer")


SHOP = Project("shop", dict.fromkeys(("schema", "tables", "features"), __name__))
ROWS = 100
RAW = {
    "orders": pl.DataFrame(
        {
            "number": range(1, ROWS + 1),
            "customer": [f"C{at % 10}" for at in range(ROWS)],
            "city": [
                ("Rome", "Oslo", "Oslo", "Bern")[at % 4] if at else "Kiel" for at in range(ROWS)
            ],
            "name": [f"N{at}" for at in range(ROWS)],
            "weight": [float(at) for at in range(ROWS)],
            "price": [float(at) for at in range(ROWS)],
            "late": [at % 3 == 0 for at in range(ROWS)],
        }
    ),
    "customers": pl.DataFrame(
        {
            "customer": [f"C{at}" for at in range(10)],
            "segment": ["rare" if at == 9 else "usual" for at in range(10)],
        }
    ),
}
FEATURES = build(RAW).collect().to_native()
