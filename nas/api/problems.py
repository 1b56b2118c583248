"""Errors on the wire: problem details for all of them, in words that help (RFC 9457)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException as StarletteHTTPException

from devices.errors import DeviceError, UnsupportedTargetError
from nas.errors import StaleLeaseError, StoreError
from predictors.errors import NotCalibratedError, PredictorError
from search_spaces.errors import NasError, UnknownNameError, UsageError

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 5

# First match counts: special ones before their parents.
_KINDS: tuple[tuple[type[NasError], int, str], ...] = (
    (StaleLeaseError, 409, "stale-lease"),
    (NotCalibratedError, 409, "not-calibrated"),
    (PredictorError, 409, "no-prediction"),
    (UnsupportedTargetError, 422, "unsupported-target"),
    (DeviceError, 503, "device-unavailable"),
    (UnknownNameError, 422, "unknown-name"),
    (UsageError, 422, "invalid-request"),
    (StoreError, 503, "store"),
    (NasError, 409, "conflict"),
)
_REASONS = {
    400: "The body is not what the headers say.",
    401: "The bearer token is missing or wrong.",
    404: "Nothing has that name.",
    409: "The state of things forbids it; `detail` says what to do.",
    413: "The body is too large.",
    422: "The request cannot be meant; `detail` names the field or gene.",
    500: "An error of the service; its log has the `id`.",
    503: "A device or the store does not answer now; try again later.",
}


class FieldError(BaseModel):
    """What is wrong with one field.

    Attributes:
        pointer: Where: `#/body/architectures/0`, `#/query/limit`.
        detail: What is wrong there.
    """

    model_config = ConfigDict(strict=True, extra="forbid")

    pointer: str
    detail: str


class Problem(BaseModel):
    """Why there is no answer.

    Attributes:
        type: Stable name of the kind of problem, for programs.
        title: The status in words.
        status: The HTTP status.
        detail: What was wrong, what is allowed, and what to do.
        errors: Each wrong field of a body or query.
        id: Under which the service's log tells more.
    """

    model_config = ConfigDict(strict=True, extra="forbid")

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldError] | None = None
    id: str | None = None


class ProblemResponse(Response):
    """A problem as a response."""

    media_type = MEDIA_TYPE

    def __init__(
        self, status: int, kind: str, detail: str, *, headers: Mapping[str, str] | None = None,
        errors: list[FieldError] | None = None, problem_id: str | None = None,
    ) -> None:  # fmt: skip
        problem = Problem(
            type=f"urn:problem-type:hardware-aware-nas:{kind}", title=HTTPStatus(status).phrase,
            status=status, detail=_plain(detail), errors=errors, id=problem_id,
        )  # fmt: skip
        extra = {"Retry-After": str(RETRY_AFTER_S)} if status == 503 else {}
        super().__init__(
            problem.model_dump_json(exclude_none=True), status, {**extra, **(headers or {})}
        )


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Declare error responses of a route for OpenAPI."""
    schema = {"schema": {"$ref": "#/components/schemas/Problem"}}
    return {
        status: {"description": _REASONS[status], "content": {MEDIA_TYPE: schema}}
        for status in statuses
    }


def schemas() -> dict[str, Any]:
    """The schemas that `responses` refers to, for OpenAPI's components."""
    schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    return {**schema.pop("$defs"), "Problem": schema}


def register(app: FastAPI) -> None:
    """Answer every error of the application with a problem."""
    app.add_exception_handler(NasError, _of_ours)
    app.add_exception_handler(RequestValidationError, _of_validation)
    app.add_exception_handler(StarletteHTTPException, _of_http)
    app.add_exception_handler(UnicodeEncodeError, _of_text)


async def _of_ours(request: Request, error: Exception) -> Response:
    status, kind = next((s, k) for parent, s, k in _KINDS if isinstance(error, parent))
    if isinstance(error, UnknownNameError) and request.path_params:
        # The name is part of the address: there is no such thing here.
        status = 404
    if status >= 500:
        logger.warning("%s %s: %s", request.method, request.url.path, error)
    return ProblemResponse(status, kind, str(error))


async def _of_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # registered for these only
    # The input itself is not repeated: it may be large, or secret.
    found = [
        FieldError(pointer="#/" + "/".join(map(str, entry["loc"])), detail=str(entry["msg"]))
        for entry in error.errors()
    ]
    first = found[0]
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    where = first.pointer.removeprefix("#/body/").removeprefix("#/")
    detail = f"{where}: {first.detail}{more}"
    return ProblemResponse(422, "invalid-request", detail, errors=found)


async def _of_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteHTTPException)  # registered for these only
    kinds = {401: "unauthorised", 404: "no-such-address", 405: "method-not-allowed",
             413: "too-large"}  # fmt: skip
    kind = kinds.get(error.status_code, "http")
    if not isinstance(error, HTTPException) and error.status_code == 404:
        detail = f"{request.url.path} is no address of this service; /openapi.json lists them"
    elif not isinstance(error, HTTPException) and error.status_code == 405:
        detail = f"{request.method} is not possible here; `Allow` lists what is"
    else:
        detail = str(error.detail)
    return ProblemResponse(error.status_code, kind, detail, headers=error.headers)


async def _of_text(request: Request, error: Exception) -> Response:
    detail = "half a surrogate pair is in the text of the body; send whole characters"
    return ProblemResponse(422, "invalid-request", detail)


def _plain(text: str) -> str:
    """Without what UTF-8 has no bytes for, such as half a surrogate pair out of a JSON body."""
    return text.encode(errors="replace").decode()
