"""A user's wish: the one pydantic model, the same from the command line, a file and HTTP."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nas.errors import InvalidRequestError

Reach = Literal["auto", "local", "agent", "none"]


class SearchRequest(BaseModel):
    """What to search for; together with the stored outcomes it determines every decision.

    Attributes:
        space: Name of the search space.
        device: Device or target, such as `local` or `local:ort-fp32-t1`.
        budget_ms: Unloaded latency that the winner must not exceed [ms].
        risk: Probability of exceeding the budget that a promise may carry.
        strategy: Name of the search strategy.
        seed: Of all randomness.
        batch: Networks measured between two decisions.
        max_measurements: Networks measured at most before verification.
        calibration_networks: Whole networks measured on a device that is not known yet.
        occasions: Processes that verify the winner, each ten seconds or more after the other.
        evaluations: Networks whose accuracy is evaluated, in spaces where that takes seconds.
        reach: How the device is measured; `auto` is decided, and stored, when the run is opened.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    space: str = "mobilenetv3"
    device: str = "local"
    budget_ms: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    risk: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    strategy: str = "evolution"
    seed: Annotated[int, Field(ge=0)] = 0
    batch: Annotated[int, Field(ge=1, le=64)] = 6
    max_measurements: Annotated[int, Field(ge=1, le=10_000)] = 24
    calibration_networks: Annotated[int, Field(ge=3, le=1000)] = 12
    occasions: Annotated[int, Field(ge=3, le=100)] = 3
    evaluations: Annotated[int, Field(ge=0, le=100_000)] = 24
    reach: Reach = "auto"

    @classmethod
    def build(cls, **fields: object) -> SearchRequest:
        """Validate, with one clear sentence for what is wrong.

        Raises:
            InvalidRequestError: If a field is unknown or out of range.
        """
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(map(str, first["loc"])) or "request"
            given = "missing" if first["type"] == "missing" else repr(first["input"])
            msg = f"{name} is {given}: {first['msg'].lower()}"
            raise InvalidRequestError(msg) from error

    @classmethod
    def loads(cls, text: str) -> SearchRequest:
        """Read a stored request.

        Raises:
            InvalidRequestError: If it is damaged or of another version.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            msg = f"the stored request cannot be read: {error.errors()[0]['msg'].lower()}"
            raise InvalidRequestError(msg) from error
