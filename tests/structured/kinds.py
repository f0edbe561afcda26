"""One type of each kind that an answer can have."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import uuid
from typing import Annotated, Any, Generic, Literal, NamedTuple, NotRequired, TypedDict, TypeVar

import attrs
import msgspec
import pydantic

T = TypeVar("T")


class Unit(enum.Enum):
    GRAM = "g"
    PIECE = "pc"


class Ingredient(msgspec.Struct):
    """Something to buy."""

    name: Annotated[str, msgspec.Meta(description="as on the label", min_length=1)]
    amount: Annotated[float, msgspec.Meta(gt=0)]
    unit: Unit = Unit.GRAM


@dataclasses.dataclass
class Recipe:
    """A dish and how to cook it.

    Attributes:
        title: what to call it
        ingredients: what goes in
    """

    title: str
    ingredients: list[Ingredient]
    minutes: int = dataclasses.field(default=10, metadata={"description": "from start to table"})
    notes: str | None = None
    """Anything else."""


class Address(TypedDict):
    street: str
    zip_code: NotRequired[Annotated[str, "five digits"]]


@attrs.define
class Person:
    age: int = attrs.field(validator=[attrs.validators.ge(0), attrs.validators.lt(150)])
    mood: str = attrs.field(default="calm", validator=attrs.validators.in_(["calm", "wild"]))


class City(pydantic.BaseModel):
    """A place."""

    name: str = pydantic.Field(description="in English", max_length=50)
    people: Annotated[int, pydantic.Field(ge=0)] = 0


class Country(pydantic.BaseModel):
    capital: City
    cities: list[City]
    tags: set[str] = set()


class Sea(pydantic.BaseModel):
    kind: Literal["sea"]


class Lake(pydantic.BaseModel):
    kind: Literal["lake"]


class Atlas(pydantic.BaseModel):
    water: Annotated[Sea | Lake, pydantic.Field(discriminator="kind")]
    price: decimal.Decimal


@dataclasses.dataclass
class Trip:
    to: City
    back: Country | None = None


class Cat(msgspec.Struct, tag=True):
    lives: int


class Dog(msgspec.Struct, tag=True):
    name: str


class Node(msgspec.Struct):
    value: int
    children: list[Node] = []


class Page(msgspec.Struct, Generic[T]):
    items: list[T]


class Point(NamedTuple):
    x: float
    y: float


class Renamed(msgspec.Struct, rename="camel"):
    """A name.

    Attributes:
        first_name: the given one
    """

    first_name: str


class Everything(msgspec.Struct):
    when: datetime.datetime
    day: datetime.date
    at: datetime.time
    lasts: datetime.timedelta
    id: uuid.UUID
    price: decimal.Decimal
    data: bytes
    point: Point
    tags: set[str]
    pair: tuple[int, str]
    many: tuple[int, ...]
    table: dict[str, list[int]]
    by_number: dict[int, str]
    choice: Literal["a", 1, None]
    anything: Any
