"""The agent's side: say hello, claim a job, keep it, hand in each outcome as it ends."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response

from nas.api import problems
from nas.api.context import ContextDep
from nas.api.models import (
    ClaimReply,
    ClaimRequest,
    HeartbeatRequest,
    HelloReply,
    HelloRequest,
    OutcomeRequest,
)
from nas.fleet import LEASE_S

router = APIRouter(prefix="/agent", tags=["agent"])

# The store's integers have 64 bits.
Number = Annotated[int, Path(ge=0, lt=2**63)]


@router.post("/hello", summary="Introduce an agent", responses=problems.responses(422))
def hello(body: HelloRequest, context: ContextDep) -> HelloReply:
    """Remembers the agent and what it found out about its device."""
    context.service.fleet.hello(
        body.agent_id, body.device, body.facts, tuple(body.runtimes), body.version
    )
    return HelloReply(lease_s=LEASE_S)


@router.post(
    "/claim", summary="Claim the oldest open job of the agent's device", response_model=ClaimReply,
    responses={**problems.responses(422), 204: {"description": "Nothing to do."}},
)  # fmt: skip
def claim(body: ClaimRequest, context: ContextDep) -> ClaimReply | Response:
    """The open items of the job under a lease; 204 if there is nothing to do."""
    fleet = context.service.fleet
    lease = fleet.claim(body.agent_id)
    return Response(status_code=204) if lease is None else ClaimReply(**fleet.offer(lease))


@router.post(
    "/jobs/{job_id}/heartbeat", summary="Keep a lease", status_code=204,
    responses=problems.responses(404, 409, 422),
)  # fmt: skip
def heartbeat(job_id: Number, body: HeartbeatRequest, context: ContextDep) -> None:
    """Extends the lease; 409 if it has run out, then claim again."""
    context.service.fleet.heartbeat(job_id, body.token)


@router.post(
    "/jobs/{job_id}/items/{position}", summary="Hand in one outcome", status_code=204,
    responses=problems.responses(404, 409, 422),
)  # fmt: skip
def finish(job_id: Number, position: Number, body: OutcomeRequest, context: ContextDep) -> None:
    """Stores the measurement or the failure, once: sent again it changes nothing."""
    context.service.fleet.finish(job_id, body.token, position, body.outcome)
