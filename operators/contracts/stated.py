"""What a contract file states: its checks and its repairs, each by itself."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, model_validator

from operators.columns.durations import micros
from operators.contracts.checks import Severity
from operators.contracts.repairs import Kind

ANY: Final = "any"
"""How far ahead of Kafka's time a time may be that no clock bounds."""
_KINDS: Final = ("bytes", "range", "pattern", "one_of", "time", "where")


def _one_field(given: Any) -> Any:
    if isinstance(given, Mapping) and isinstance(given.get("field"), str):
        return {**given, "field": [given["field"]]}
    return given


class Stated(BaseModel):
    """One entry of ``checks``: a stable code, the fields, and one thing that must hold of each.

    `bytes` and `range` are [least, most], inclusive; `time` is [from, to], null for no bound, and
    such a time is at most `ahead` of the record's Kafka time: a duration, or "any"; the stream's
    setting unless stated. `pattern` has to match the whole text; `where` is SQL over the record. A
    null holds where the schema allows it, but for `where`, which must be true. `says` are other
    words for it. `severity` is what becomes of records that break it: a warn lets them pass and
    counts them, a stop ends the flow.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    code: str = Field(pattern="^[a-z][a-z0-9_]*$")
    fields: Annotated[list[str], Field(alias="field")] = []
    bytes: tuple[int, int] | None = None
    range: tuple[float | int, float | int] | None = None
    pattern: str | None = None
    one_of: Annotated[list[Any] | None, Field(alias="in")] = None
    time: tuple[date | None, date | None] | None = None
    ahead: str | None = None
    where: str | None = None
    says: str | None = None
    severity: Severity = "quarantine"

    _one_field = model_validator(mode="before")(_one_field)

    @model_validator(mode="after")
    def _one_kind(self) -> "Stated":
        stated = [name for name in _KINDS if getattr(self, name) is not None]
        if len(stated) != 1:
            raise ValueError("needs one of bytes, range, pattern, in, time and where")
        if self.ahead is not None and self.time is None:
            raise ValueError("ahead is for a time")
        if self.ahead not in (None, ANY):
            micros(str(self.ahead))
        if bool(self.fields) == (self.where is not None):
            raise ValueError("needs a field, or where without one")
        return self


class StatedRepair(BaseModel):
    """One entry of ``repairs``: what is done, in their order, to fields that break a check.

    `value` is a default's, `times` and `divided_by` a unit's; `of` is the text field that a time
    is parsed of, by a `format` of strptime. See `Repair`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    does: Kind
    fields: Annotated[list[str], Field(alias="field", min_length=1)]
    value: str | int | float | bool | datetime | None = None
    times: int = Field(1, ge=1)
    divided_by: int = Field(1, ge=1)
    of: str = ""
    format: str = ""

    _one_field = model_validator(mode="before")(_one_field)

    @model_validator(mode="after")
    def _all_it_needs(self) -> "StatedRepair":
        given = self.model_fields_set - {"does", "fields"}
        for kind, names, wanted in (
            ("default", {"value"}, "a value"),
            ("unit", {"times", "divided_by"}, "times or divided_by, or both"),
            ("parse_time", {"of", "format"}, "of, a text field, and format"),
        ):
            if self.does == kind:
                if not given or given - names or (kind == "parse_time" and given != names):
                    raise ValueError(f"{kind} needs {wanted}, and nothing else")
                return self
        if given:
            raise ValueError(f"{self.does} needs no {', '.join(sorted(given))}")
        return self
