"""Bodies on the wire; every field that is a quantity ends with its unit.

A search's request is `nas.request.SearchRequest` itself, and its result is the document that
`result.json` holds.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

MOST_ARCHITECTURES = 10_000
MOST_ROWS = 1000
NameText = Annotated[str, Field(min_length=1, max_length=200)]
KeyText = Annotated[str, Field(min_length=1, max_length=500)]


class Wire(BaseModel):
    """What all bodies have in common: nothing is converted, nothing unknown is let pass."""

    model_config = ConfigDict(strict=True, extra="forbid")


class PredictRequest(Wire):
    """Which networks, on what.

    Attributes:
        architectures: Architecture keys, such as `mobilenetv3:3000…`.
        device: Device or target, such as `local` or `jetson-orin`.
    """

    architectures: Annotated[list[KeyText], Field(min_length=1, max_length=MOST_ARCHITECTURES)]
    device: NameText = "local"


class PredictedRow(Wire):
    """The latency of one network, predicted.

    Attributes:
        architecture: Its key as it was asked for.
        kind: Never anything else: nothing was measured for this answer.
        latency_ms: Median [ms].
        lower_ms: Lower end of the interval [ms].
        upper_ms: Upper end of the interval [ms].
        level: Probability that the latency lies within.
        extrapolated: The network is unlike those measured; distrust the interval.
        target: Key of the target.
        measured_networks: How many networks of that target the predictor learned from.
        model: Name of the predictor.
    """

    architecture: str
    kind: Literal["predicted"]
    latency_ms: float
    lower_ms: float
    upper_ms: float
    level: float
    extrapolated: bool
    target: str
    measured_networks: int
    model: str


class Predictions(Wire):
    """Rows in the order of the request."""

    predictions: list[PredictedRow]


class DeviceRow(Wire):
    """One device.

    Attributes:
        device: Its name.
        reach: How it can be measured: `local`, by an `agent`, or not at all (`none`).
        facts: What is known of it; what is unknown is absent.
    """

    device: str
    reach: str
    facts: dict[str, Any]


class Devices(Wire):
    """Every device there is, this machine first."""

    devices: list[DeviceRow]


class DeviceDetail(DeviceRow):
    """One device, with the number of its measurements.

    Attributes:
        measured: Measurements of networks and blocks on its default target.
    """

    measured: dict[str, int]


class SpaceRow(Wire):
    """One search space.

    Attributes:
        space: Its name.
        genes: Number of decisions.
        size: Number of genotypes, in decimal digits: too large for a JSON number.
    """

    space: str
    genes: int
    size: str


class Spaces(Wire):
    """Every search space there is."""

    spaces: list[SpaceRow]


class ChoiceRow(Wire):
    """One decision of a space; a gene is the index of an option."""

    name: str
    options: list[Any]


class SpaceDetail(SpaceRow):
    """One search space with its choices, in the order of the genes."""

    choices: list[ChoiceRow]


class MeasuredRow(Wire):
    """One stored measurement of a network.

    Attributes:
        id: Number in the store; newer ones have larger numbers.
        architecture: Key of the network.
        kind: `measured`: in one process, on one occasion.
        latency_ms: Unloaded latency [ms]: ratio times the reference network's quiet time.
        ratio: Median paired ratio to the reference network.
        error_percent: Standard error of the ratio [%].
        wall_ms: Median elapsed time [ms], load and all.
        runs: Number of samples.
        target: Key of the target.
        occasion: Identifies the process that measured.
        taken_at: ISO 8601 in UTC.
    """

    id: int
    architecture: str
    kind: Literal["measured"]
    latency_ms: float
    ratio: float
    error_percent: float | None
    wall_ms: float
    runs: int
    target: str
    occasion: str
    taken_at: str


class Measurements(Wire):
    """Newest first; `next_cursor` asks for the page after this one."""

    measurements: list[MeasuredRow]
    next_cursor: str | None


class SearchProgress(Wire):
    """How far a search is.

    Attributes:
        stage: What the last batch is for; None before the first.
        batches: Batches decided by now.
        slots: Networks in them.
        done: Of these, how many have an outcome.
        failed: Of these, how many could not be measured or evaluated.
    """

    stage: str | None
    batches: int
    slots: int
    done: int
    failed: int


class SearchRow(Wire):
    """A search in a list.

    Attributes:
        id: Its name.
        state: `queued`, `running`, `stopped`, `failed`, or how it ended: `verified`,
            `unverified`, `predicted`, `infeasible`.
        space: Search space.
        device: Device or target.
        budget_ms: The limit [ms].
        created_at: ISO 8601 in UTC.
        finished_at: ISO 8601 in UTC.
    """

    id: str
    state: str
    space: str
    device: str
    budget_ms: float
    created_at: str
    finished_at: str | None


class Searches(Wire):
    """Newest first; `next_cursor` asks for the page after this one."""

    searches: list[SearchRow]
    next_cursor: str | None


class Search(SearchRow):
    """A search.

    Attributes:
        request: As it was submitted, the device resolved.
        progress: How far it is.
        result: The document of `result.json` when it is finished.
        error: Why it failed.
        artefacts: SHA-256 of each file by name.
    """

    request: dict[str, Any]
    progress: SearchProgress
    result: dict[str, Any] | None
    error: str | None
    artefacts: dict[str, str]


class Candidates(Wire):
    """Networks of a finished search; empty before it is finished.

    Attributes:
        id: The search.
        state: Of the search.
        candidates: As in `result.json`; `kind` says how each latency is known.
    """

    id: str
    state: str
    candidates: list[dict[str, Any]]


class HelloRequest(Wire):
    """An agent introduces itself.

    Attributes:
        agent_id: Made by the agent when it first started.
        device: Name of the device it runs on.
        facts: What it found out about the device.
        runtimes: What it can measure with.
        version: Of its software.
    """

    agent_id: NameText
    device: NameText
    facts: dict[str, Any]
    runtimes: list[NameText]
    version: NameText


class HelloReply(Wire):
    """How long a lease lasts without a heartbeat [s]."""

    lease_s: float


class ClaimRequest(Wire):
    """An agent asks for work."""

    agent_id: NameText


class ClaimedItem(Wire):
    """One network or block to measure.

    Attributes:
        position: In the job.
        subject: Architecture key, or `block:` and a digest.
        kind: `network` or `block`.
        digest: Digest of the layer graph.
        graph: The layer graph as JSON text.
    """

    position: int
    subject: str
    kind: Literal["network", "block"]
    digest: str
    graph: str


class ClaimReply(Wire):
    """The right to work on a job for a while.

    Attributes:
        job_id: Number of the job.
        token: Of this lease; goes with every outcome.
        lease_s: How long it lasts without a heartbeat [s].
        target: Key of the target to measure.
        plan: How long to measure.
        alone: Each item in a process of its own.
        items: What has no outcome yet.
    """

    job_id: int
    token: str
    lease_s: float
    target: str
    plan: dict[str, Any]
    alone: bool
    items: list[ClaimedItem]


class HeartbeatRequest(Wire):
    """The agent still works on the job."""

    token: KeyText


class OutcomeRequest(Wire):
    """What became of one item.

    Attributes:
        token: Of the lease.
        outcome: `{"failure": reason}`, or `samples`, `reference`, `occasion`, `environment` and
            `taken_at` of the measurement.
    """

    token: KeyText
    outcome: dict[str, Any]


class Health(Wire):
    """The service answers."""

    status: Literal["ok"] = "ok"
