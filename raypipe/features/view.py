"""What the user's file says about features and the label, and the tiny expressions in it.

Knows names, clocks and windows. Does not know where rows come from.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from raypipe.spec import Duration, Spec, format_duration, parse_duration

_COMPARISON = re.compile(r"^([A-Za-z_]\w*)\s*(>=|<=|==|!=|>|<)\s*(-?\d+(?:\.\d+)?)$")
_COLUMN = re.compile(r"^[A-Za-z_]\w*$")
_MOMENT = re.compile(r"^([A-Za-z_]\w*)(?:\s*([+-])\s*(\S+))?$")


class Expression(Spec):
    """A column, or a column compared with a number (then 1.0 where true, 0.0 where false, null where null)."""

    column: str
    operator: Literal[">", ">=", "<", "<=", "==", "!="] | None = None
    value: float | None = None

    def __str__(self) -> str:
        return self.column if self.operator is None else f"{self.column} {self.operator} {self.value:g}"


def parse_expression(value: object) -> Expression:
    """Return the expression written as `column` or `column > number`.

    Examples
    --------
    >>> parse_expression("arr_delay > 15").column
    'arr_delay'
    """
    if isinstance(value, Expression):
        return value
    text = str(value).strip()
    if match := _COMPARISON.match(text):
        return Expression.model_validate({"column": match[1], "operator": match[2], "value": float(match[3])})
    if _COLUMN.match(text):
        return Expression(column=text)
    raise ValueError(f"{text!r} is neither a column nor a comparison such as `arr_delay > 15`")


class Moment(Spec):
    """A time column and an offset, such as two hours before the scheduled departure."""

    column: str
    offset: timedelta = timedelta(0)

    def __str__(self) -> str:
        if not self.offset:
            return self.column
        sign = "-" if self.offset < timedelta(0) else "+"
        return f"{self.column} {sign} {format_duration(abs(self.offset))}"


def parse_moment(value: object) -> Moment:
    """Return the moment written as `column`, `column - 2h` or `column + 1d`."""
    if isinstance(value, Moment):
        return value
    match = _MOMENT.match(str(value).strip())
    if not match:
        raise ValueError(f"{value!r} is not a moment: write a time column, or one as in `departure_at - 2h`")
    offset = parse_duration(match[3]) if match[3] else timedelta(0)
    return Moment(column=match[1], offset=-offset if match[2] == "-" else offset)


ExpressionText = Annotated[Expression, BeforeValidator(parse_expression), PlainSerializer(str, return_type=str)]
MomentText = Annotated[Moment, BeforeValidator(parse_moment), PlainSerializer(str, return_type=str)]


class Aggregate(Spec):
    """One number over the rows of an entity that happened within `over` and were known. Exactly one function."""

    count: Literal["*"] | None = None
    mean: ExpressionText | None = None
    sum: ExpressionText | None = None
    over: Duration

    @model_validator(mode="after")
    def _exactly_one(self) -> Aggregate:
        if sum(f is not None for f in (self.count, self.mean, self.sum)) != 1:
            raise ValueError("an aggregate has exactly one of `count`, `mean`, `sum`")
        return self


class FeatureView(Spec):
    """Features of an entity from one source: the latest row (`columns` with `ttl`), or windows (`aggregate`)."""

    name: str
    entity: tuple[str, ...] = Field(min_length=1)
    """Columns that the source and the spine share."""
    source: str
    ttl: Duration | None = None
    """How old the latest row may be, by its event time."""
    columns: tuple[str, ...] = ()
    aggregate: dict[str, Aggregate] = {}

    @model_validator(mode="after")
    def _one_shape(self) -> FeatureView:
        if bool(self.columns) == bool(self.aggregate):
            raise ValueError(f"view `{self.name}` has exactly one of `columns` and `aggregate`")
        if bool(self.columns) != (self.ttl is not None):
            raise ValueError(f"view `{self.name}`: `ttl` belongs to `columns`, windows have `over`")
        return self

    @property
    def lookback(self) -> timedelta:
        """How far before a prediction a row's event time can matter."""
        if self.ttl is not None:
            return self.ttl
        return max(a.over for a in self.aggregate.values())

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the joined columns: `<view>__<column>`."""
        return tuple(f"{self.name}__{c}" for c in (self.columns or self.aggregate))


class FeaturesSpec(Spec):
    """How an example is built: a spine of entities and times, and what was known of them then."""

    spine: str
    """The source whose accepted rows are the examples."""
    prediction_time: MomentText
    request: tuple[str, ...] = Field(min_length=1)
    """Columns of the spine that a caller sends with a request."""
    time_zone: str = "UTC"
    """Clock on which hours and weekdays of request timestamps are read (IANA name)."""
    views: tuple[FeatureView, ...] = ()

    @property
    def feature_names(self) -> tuple[str, ...]:
        """All columns a model sees before transforms, in order."""
        return self.request + tuple(n for v in self.views for n in v.feature_names)


class LabelSpec(Spec):
    """The truth: which source tells it, and when it is expected to be known."""

    name: str
    source: str
    from_: ExpressionText = Field(alias="from")
    """What of the source's row is the label; joined to the spine by event id."""
    matures_within: Duration
    """After this long past the event, a missing label is missing for good."""
