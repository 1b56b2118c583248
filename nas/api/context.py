"""What routes stand on: the use cases, the supervisor of searches, the loaded predictors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request

from nas.api.predictions import Predictors
from nas.api.runner import Runner
from nas.service import Service


@dataclass(frozen=True, slots=True)
class Context:
    """One running server.

    Attributes:
        service: The use cases on the open store.
        runner: Works through submitted searches.
        predictors: Kept loaded between requests.
    """

    service: Service
    runner: Runner
    predictors: Predictors


async def _context(request: Request) -> Context:
    # async, though it waits for nothing: otherwise it would be sent to a thread.
    return cast("Context", request.app.state.context)


ContextDep = Annotated[Context, Depends(_context)]
