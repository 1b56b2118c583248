"""Searches: submit one, watch it, take its candidates and files, stop it."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Response

from nas.api import problems
from nas.api.context import ContextDep
from nas.api.models import MOST_ROWS, Candidates, Search, Searches
from nas.api.paging import Cursor, Limit, no_cursor
from nas.api.runs import described, ending, found_run, ordered, row, state_of
from nas.request import SearchRequest
from search_spaces.errors import UnknownNameError

router = APIRouter(prefix="/searches", tags=["searches"])

Kind = Literal["imported", "predicted", "measured", "verified"]
_LOCATION = {
    "Location": {"description": "Where the search is watched.", "schema": {"type": "string"}}
}
_MEDIA_TYPES = {".json": "application/json", ".csv": "text/csv"}


@router.post(
    "", summary="Submit a search", status_code=202,
    responses={
        202: {"description": "Queued; watch it at `Location`.", "headers": _LOCATION},
        **problems.responses(422),
    },
)  # fmt: skip
def submit(body: SearchRequest, context: ContextDep, response: Response) -> Search:
    """Stores the search and queues it; one is worked on at a time, in order of arrival."""
    record = context.service.open_search(body)
    context.runner.submit(record.id)
    response.headers["Location"] = f"/v1/searches/{record.id}"
    return described(context, record)


@router.get("", summary="All searches", responses=problems.responses(422))
def list_searches(context: ContextDep, limit: Limit = 100, cursor: Cursor = None) -> Searches:
    """Newest first, whichever door they came through."""
    records = context.service.store.runs()
    if cursor is not None:
        names = [record.id for record in records]
        if cursor not in names:
            raise no_cursor(cursor)
        records = records[names.index(cursor) + 1 :]
    page = records[:limit]
    return Searches(
        searches=[row(context, record) for record in page],
        next_cursor=page[-1].id if len(records) > len(page) else None,
    )


@router.get("/{search_id}", summary="One search", responses=problems.responses(404))
def show_search(search_id: str, context: ContextDep) -> Search:
    """Its state, how far it is, and the result when it is finished."""
    return described(context, found_run(context, search_id))


@router.get(
    "/{search_id}/candidates", summary="Networks that a search found",
    responses=problems.responses(404, 422),
)  # fmt: skip
def list_candidates(
    search_id: str,
    context: ContextDep,
    kind: Annotated[Kind | None, Query(description="How the latency is known.")] = None,
    on_front: Annotated[bool | None, Query(description="Dominated by none of its kind.")] = None,
    sort: Annotated[
        str, Query(max_length=60, description="A field that is a number; `-` for largest first.")
    ] = "latency_ms",
    limit: Annotated[int, Query(ge=1, le=MOST_ROWS, description="Rows at most.")] = MOST_ROWS,
) -> Candidates:
    """The networks of `result.json`; none before the search is finished."""
    record = found_run(context, search_id)
    result, _ = ending(record)
    found = [
        candidate
        for candidate in (result or {}).get("candidates", [])
        if kind in (None, candidate["kind"]) and on_front in (None, candidate["on_front"])
    ]
    return Candidates(
        id=record.id, state=state_of(context, record), candidates=ordered(found, sort)[:limit]
    )


@router.get(
    "/{search_id}/artefacts/{name}", summary="A file of a search", response_class=Response,
    responses={
        200: {"description": "The file.", "content": {"application/octet-stream": {}}},
        304: {"description": "The client has it already."},
        **problems.responses(404),
    },
)  # fmt: skip
def download(
    search_id: str, name: str, context: ContextDep,
    if_none_match: Annotated[str | None, Header(max_length=2000)] = None,
) -> Response:  # fmt: skip
    """By its name within the search; names are looked up in the store, never on a disk."""
    store = context.service.store
    digests = store.run_artefacts(found_run(context, search_id).id)
    if name not in digests:
        raise UnknownNameError.of(f"artefact of {search_id}", name, digests)
    etag = f'"{digests[name]}"'
    headers = {"ETag": etag, "X-Content-Type-Options": "nosniff"}
    if if_none_match is not None and _matches(if_none_match, etag):
        return Response(status_code=304, headers=headers)
    suffix = name[name.rfind(".") :]
    return Response(
        store.artefact(digests[name]), headers=headers,
        media_type=_MEDIA_TYPES.get(suffix, "application/octet-stream"),
    )  # fmt: skip


@router.post(
    "/{search_id}/stop", summary="Stop a search", status_code=202,
    responses=problems.responses(404, 409),
)  # fmt: skip
@router.delete(
    "/{search_id}", summary="Stop a search", status_code=202, name="stop_search_by_delete",
    responses=problems.responses(404, 409),
)  # fmt: skip
def stop_search(search_id: str, context: ContextDep) -> Search:
    """Everything found is kept, nothing is deleted; a search that has ended is left as it is."""
    record = found_run(context, search_id)
    context.runner.stop(record.id)
    return described(context, found_run(context, search_id))


def _matches(header: str, etag: str) -> bool:
    """Whether `If-None-Match` names the entity tag; a weak one will do."""
    tags = [tag.strip().removeprefix("W/") for tag in header.split(",")]
    return "*" in tags or etag in tags
