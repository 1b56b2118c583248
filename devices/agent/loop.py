"""The agent's life: claim a job, measure it under heartbeats, send each outcome, claim again.

The agent pulls, so a device behind a firewall needs no open port. Outcomes go out one by one as
they end. What cannot be sent is kept on the disk; what was measured is never measured twice.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Literal, cast

from devices.agent.client import Client
from devices.agent.identity import Identity
from devices.agent.spool import Kept, Spool
from devices.agent.work import Claim, Item, Outcome, failure, measure
from devices.errors import (
    LeaseLostError,
    ServerError,
    ServerRefusedError,
    ServerUnreachableError,
    TokenRefusedError,
)

logger = logging.getLogger(__name__)

Fate = Literal["sent", "kept", "lost"]

POLL_S = 2.0
_LONGEST_WAIT_S = 60.0
# A server calls an agent alive that it heard from in the last minute and a half.
_GREET_AGAIN_S = 30.0
# While a job is measured nobody may wait long for a server that is away.
_SEND_ATTEMPTS = 2


@dataclass(slots=True)
class Tally:
    """What an agent has done since it started.

    Attributes:
        jobs: Claims worked on.
        measured: Measurements handed in.
        failed: Failures handed in.
        kept: Outcomes that wait on the disk to be sent.
    """

    jobs: int = 0
    measured: int = 0
    failed: int = 0
    kept: int = 0


def run(
    client: Client, agent: Identity, *, once: bool = False, poll_s: float = POLL_S,
    pause: Callable[[float], object] = time.sleep, rng: random.Random | None = None,
) -> Tally:  # fmt: skip
    """Work until interrupted, or until there is nothing left to do.

    Args:
        client: The server.
        agent: Who we are.
        once: End when the server has nothing to do, or cannot be reached.
        poll_s: Time between two questions while there is nothing to do [s].
        pause: Waits for so many seconds.
        rng: Of the jitter.

    Raises:
        ServerUnreachableError: With `once`, if the server does not answer.
        ServerRefusedError: If it refuses the agent, by its token for example.
    """
    work = _Agent(client, agent, Spool(agent.folder, client.url, time.time()))
    rng = rng or random.Random()
    silent, known = 0, False
    while True:
        try:
            known = work.greet()
            work.send_kept()
            claim = client.claim(agent.id)
        except TokenRefusedError:
            raise
        except ServerRefusedError:
            if not known:
                raise
            # A server with a new database has never heard of us.
            work.lost_sight()
            continue
        except ServerUnreachableError as error:
            work.lost_sight()
            if once:
                if len(work.spool):
                    msg = f"{error}; {len(work.spool)} outcomes wait in {work.spool.path}"
                    raise ServerUnreachableError(msg) from error
                raise
            silent += 1
            wait_s = min(poll_s * 2.0**silent, _LONGEST_WAIT_S) * rng.uniform(0.5, 1.0)
            logger.warning("%s; trying again in %.0f s", error, wait_s)
            pause(wait_s)
            continue
        silent = 0
        if claim is not None:
            if not work.do(claim):
                pause(poll_s * rng.uniform(0.5, 1.5))
        elif once:
            return work.tally
        else:
            pause(poll_s * rng.uniform(0.5, 1.5))


class _Heart:
    """Extends a lease at a third of its length, in a thread, for as long as the context lasts."""

    def __init__(self, client: Client, claim: Claim) -> None:
        self._client, self._claim = client, claim
        self._stop = threading.Event()
        self.lost = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> _Heart:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._stop.set()

    def _beat(self) -> None:
        while not self._stop.wait(self._claim.lease_s / 3.0):
            try:
                self._client.heartbeat(self._claim.job_id, self._claim.token)
            except LeaseLostError as error:
                if not self._stop.is_set():
                    logger.warning("job %d: %s", self._claim.job_id, error)
                self.lost.set()
                return
            except ServerError as error:
                logger.warning("job %d: heartbeat: %s", self._claim.job_id, error)


class _Agent:
    """One server and what is kept for it."""

    def __init__(self, client: Client, agent: Identity, spool: Spool) -> None:
        self.client, self.agent, self.spool = client, agent, spool
        self.tally = Tally(kept=len(spool))
        self._greeted_s: float | None = None
        # Leases that ran out before their outcome could be sent.
        self._stale: set[tuple[int, int, str]] = set()

    def greet(self) -> bool:
        """Introduce ourselves, again after a while; whether we had done so before."""
        now_s, before_s = time.monotonic(), self._greeted_s
        if before_s is None:
            lease_s = self.client.hello(self.agent)
            logger.info(
                "%s measures %s for %s; leases of %.0f s",
                self.agent.id[:8], self.agent.device.name, self.client.url, lease_s,
            )  # fmt: skip
        elif now_s - before_s > _GREET_AGAIN_S:
            self.client.hello(self.agent)
        else:
            return True
        self._greeted_s = now_s
        return before_s is not None

    def lost_sight(self) -> None:
        """The server was away; whatever answers next is greeted anew."""
        self._greeted_s = None

    def send_kept(self) -> None:
        """Hand in what is kept, with the token of its own claim.

        Raises:
            ServerUnreachableError: If the server is still away; all is kept.
        """
        for kept in self.spool.entries():
            if (kept.job_id, kept.position, kept.token) in self._stale:
                continue
            try:
                self.client.send(kept.job_id, kept.position, kept.token, kept.outcome)
            except LeaseLostError:
                # Kept for the time when this agent holds the job again.
                self._stale.add((kept.job_id, kept.position, kept.token))
                continue
            except TokenRefusedError:
                raise
            except ServerRefusedError as error:
                logger.warning("job %d, item %d: %s", kept.job_id, kept.position, error)
            else:
                self._count(kept.outcome)
            self._forget(kept)

    def do(self, claim: Claim) -> bool:
        """Work on a job; what is kept of it is sent, not measured. False if it was lost."""
        self.tally.jobs += 1
        logger.info(
            "job %d: %d items on %s", claim.job_id, len(claim.work.items), claim.work.target.key
        )
        missing: list[Item] = []
        for item in claim.work.items:
            kept = self.spool.find(claim, item)
            if kept is None:
                missing.append(item)
                continue
            fate = self._hand_in(claim, item, dict(kept.outcome))
            if fate == "sent":
                self._forget(kept)
            elif fate == "lost":
                return False
        work = replace(claim.work, items=tuple(missing))
        owner = f"agent {self.agent.id[:8]}"
        outcomes = measure(work, self.agent.device.name, owner=owner, on_wait=_tell_wait)
        # Closing the generator ends the child process that measures.
        with _Heart(self.client, claim) as heart, closing(cast("Any", outcomes)):
            for item, outcome in outcomes:
                if self._hand_in(claim, item, outcome) == "lost":
                    return False
                if heart.lost.is_set():
                    logger.warning("job %d: the lease is lost; claiming again", claim.job_id)
                    return False
        return True

    def _hand_in(self, claim: Claim, item: Item, outcome: Outcome) -> Fate:
        """Send an outcome, or keep it because the server is away or the job no longer ours."""
        send = self.client.send
        where = (claim.job_id, item.position, claim.token)
        try:
            try:
                send(*where, outcome, attempts=_SEND_ATTEMPTS)
            except TokenRefusedError:
                self._keep(claim, item, outcome)
                raise
            except ServerRefusedError as error:
                # An item without any outcome would be handed out again and again.
                logger.warning("job %d, item %d: %s", claim.job_id, item.position, error)
                outcome = failure(f"the server refused the measurement: {error}")
                send(*where, outcome, attempts=_SEND_ATTEMPTS)
        except ServerUnreachableError as error:
            logger.warning("%s; item %d of job %d is kept", error, item.position, claim.job_id)
            self._keep(claim, item, outcome)
            return "kept"
        except LeaseLostError as error:
            logger.warning("%s; item %d of job %d is kept", error, item.position, claim.job_id)
            self._keep(claim, item, outcome)
            return "lost"
        self._count(outcome)
        return "sent"

    def _count(self, outcome: Any) -> None:
        if "failure" in outcome:
            self.tally.failed += 1
        else:
            self.tally.measured += 1

    def _keep(self, claim: Claim, item: Item, outcome: Outcome) -> None:
        if self.spool.find(claim, item) is None:
            self.spool.add(Kept.of(claim, item, outcome, time.time()))
        self.tally.kept = len(self.spool)

    def _forget(self, kept: Kept) -> None:
        self.spool.remove(kept)
        self.tally.kept = len(self.spool)


def _tell_wait(holder: str) -> None:
    logger.info("waiting for %s, which is measuring on this host", holder)
