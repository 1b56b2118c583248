"""Whether the process lives, and whether it can answer; both without a token."""

from __future__ import annotations

from fastapi import APIRouter

from nas.api import problems
from nas.api.context import ContextDep
from nas.api.models import Health
from nas.errors import StoreError
from nas.store import SqlStore

router = APIRouter(tags=["health"])


@router.get("/livez", summary="The process lives", responses=problems.responses(500))
async def live() -> Health:
    """Answers as long as the process does."""
    return Health()


@router.get(
    "/readyz", summary="The store answers and its schema is current",
    responses=problems.responses(500, 503),
)  # fmt: skip
def ready(context: ContextDep) -> Health:
    """Opens the store afresh: that reads its schema, and refuses one of a newer version."""
    database = context.service.settings.database
    if not database.is_file():
        raise StoreError("the store is gone; start the service again")
    try:
        with SqlStore(database) as store:
            store.devices()
    except StoreError as error:
        # Whoever has no token need not know where it lies; the log tells.
        raise StoreError("the store does not answer, or is of another version") from error
    return Health()
