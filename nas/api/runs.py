"""Stored runs as the searches that clients see."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from nas.api.context import Context
from nas.api.models import Search, SearchProgress, SearchRow
from nas.errors import InvalidRequestError
from nas.trial import Failure, RunRecord
from search_spaces.errors import UnknownNameError


def found_run(context: Context, search_id: str) -> RunRecord:
    """The run of exactly that name.

    Raises:
        UnknownNameError: If there is none; a beginning of a name is not enough here.
    """
    record = context.service.store.run(search_id)
    if record.id != search_id:
        raise UnknownNameError.of("search", search_id, [record.id])
    return record


def row(context: Context, record: RunRecord) -> SearchRow:
    """A search in a list."""
    return SearchRow(**_summary(context, record))


def described(context: Context, record: RunRecord) -> Search:
    """A search with everything there is of it."""
    store = context.service.store
    batches = store.batches(record.id)
    outcomes = [outcome for batch in batches for outcome in batch.outcomes]
    result, error = ending(record)
    return Search(
        **_summary(context, record),
        request=json.loads(record.request),
        progress=SearchProgress(
            stage=batches[-1].stage if batches else None,
            batches=len(batches),
            slots=len(outcomes),
            done=sum(outcome is not None for outcome in outcomes),
            failed=sum(isinstance(outcome, Failure) for outcome in outcomes),
        ),
        result=result,
        error=error,
        artefacts=store.run_artefacts(record.id),
    )


def state_of(context: Context, record: RunRecord) -> str:
    """The stored state, or `queued` while other searches come first."""
    waits = record.state == "running" and context.runner.waits(record.id)
    return "queued" if waits else record.state


def ending(record: RunRecord) -> tuple[dict[str, Any] | None, str | None]:
    """Result and error of a run; at most one of them is there."""
    # A number that is none would make the answer no JSON.
    content = json.loads(record.result, parse_constant=lambda _: None) if record.result else None
    if record.state == "failed":
        return None, str((content or {}).get("error", "it failed without a reason"))
    return content, None


def ordered(candidates: Sequence[dict[str, Any]], sort: str) -> list[dict[str, Any]]:
    """Candidates by a field that is a number; those without it last.

    Raises:
        InvalidRequestError: If there is no such field; those there are are listed.
    """
    if not candidates:
        return []
    name, sign = sort.removeprefix("-"), -1.0 if sort.startswith("-") else 1.0
    numbers = sorted({
        field for candidate in candidates for field, value in candidate.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    })  # fmt: skip
    if name not in numbers:
        msg = f"candidates cannot be sorted by {name!r}; possible: {', '.join(numbers)}"
        raise InvalidRequestError(msg)

    def place(candidate: dict[str, Any]) -> tuple[bool, float]:
        value = candidate.get(name)
        return value is None, 0.0 if value is None else sign * value

    return sorted(candidates, key=place)


def _summary(context: Context, record: RunRecord) -> dict[str, Any]:
    request = json.loads(record.request)
    return {
        "id": record.id,
        "state": state_of(context, record),
        "space": request["space"],
        "device": request["device"],
        "budget_ms": request["budget_ms"],
        "created_at": record.created_at,
        "finished_at": record.finished_at,
    }
