"""What every store promises: values in, values out, and nothing stored is ever replaced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, overload

from devices.device import Device
from devices.measurement import Measurement, SubjectKind
from nas.trial import Batch, Failure, Outcome, RunRecord, RunState, Stage, StoredMeasurement


class Store(Protocol):
    """Append-only memory of all runs, shared by processes.

    Each method is one transaction: it happened entirely or not at all, whenever the process is
    killed. Times are ISO 8601 in UTC and come from the caller. What the store returns is what it
    would return after a restart, so that a resumed run decides as the interrupted one.

    Every method raises StoreError if the database refuses or is damaged.
    """

    def close(self) -> None:
        """Let go of the database; the store is not used afterwards."""

    def add_device(self, device: Device, created_at: str | None = None) -> None:
        """Remember a device; the facts of a known one are replaced, its time is kept."""

    def devices(self) -> list[Device]:
        """All devices by name."""

    def open_run(self, run_id: str, request: str, created_at: str) -> RunRecord:
        """Start a run in state `running`; its baseline is the newest measurement so far.

        Raises:
            StoreError: If a run of that name exists.
        """

    def run(self, run_id: str) -> RunRecord:
        """The run of that name, or the only one whose name starts so.

        Raises:
            UnknownNameError: If there is none, or more than one.
        """

    def runs(self) -> list[RunRecord]:
        """All runs, newest first."""

    def finish_run(
        self, run_id: str, state: RunState, result: str | None, finished_at: str | None
    ) -> None:
        """Set how a run stands; a resumed one goes back to `running`, without result and time.

        Raises:
            UnknownNameError: If there is no such run.
        """

    def add_batch(self, run_id: str, number: int, stage: Stage, subjects: Sequence[str]) -> None:
        """Append a decided batch, all slots open.

        Raises:
            UnknownNameError: If there is no such run.
            StoreError: If the run has a batch of that number.
        """

    def batches(self, run_id: str) -> list[Batch]:
        """The batches of a run in order, with the outcomes there are.

        Raises:
            UnknownNameError: If there is no such run.
        """

    @overload
    def add_outcome(
        self, run_id: str, batch: int, slot: int, outcome: Measurement
    ) -> StoredMeasurement: ...
    @overload
    def add_outcome(self, run_id: str, batch: int, slot: int, outcome: Failure) -> Failure: ...
    def add_outcome(
        self, run_id: str, batch: int, slot: int, outcome: Measurement | Failure
    ) -> Outcome:
        """Fill an open slot and return the outcome as stored: go on with that one.

        Raises:
            StoreError: If there is no such slot or it has an outcome; nothing is stored then.
        """

    def add_measurements(self, measurements: Sequence[Measurement]) -> list[int]:
        """Append measurements of no run; all or none. Returns their numbers in order."""

    def measurements(
        self,
        target: str,
        *,
        kind: SubjectKind | None = None,
        space: str | None = None,
        up_to_id: int | None = None,
        reference: str | None = None,
    ) -> list[StoredMeasurement]:
        """What was measured on a target, in the order of storing.

        Args:
            target: Key of the target.
            kind: Only networks or only blocks.
            space: Only networks of this space.
            up_to_id: Nothing newer, such as a run's baseline.
            reference: Only those paired with the reference network of this digest.
        """

    def add_artefact(self, body: bytes, media_type: str, created_at: str | None = None) -> str:
        """Keep bytes under their SHA-256, which is returned; equal bytes are kept once."""

    def artefact(self, sha256: str) -> bytes:
        """The bytes of that digest, checked against it.

        Raises:
            UnknownNameError: If there are none.
            StoreError: If they were altered.
        """

    def name_artefact(self, run_id: str, name: str, sha256: str) -> None:
        """Name an artefact within a run; the same again changes nothing.

        Raises:
            UnknownNameError: If there is no such run or artefact.
            StoreError: If the run gave the name to another artefact.
        """

    def run_artefacts(self, run_id: str) -> dict[str, str]:
        """SHA-256 of each artefact of a run by name.

        Raises:
            UnknownNameError: If there is no such run.
        """

    def add_predictor(
        self,
        target: str,
        space: str,
        model: str,
        sha256: str,
        provenance: Mapping[str, Any],
        created_at: str,
        *,
        reference: str | None = None,
    ) -> int:
        """Register a fitted predictor, kept as an artefact; returns its number.

        Args:
            target: Key of the target it predicts for.
            space: Name of the space.
            model: Name of the predictor plug-in.
            sha256: The artefact that holds it.
            provenance: What it was fitted on (JSON values).
            created_at: When it was fitted.
            reference: Digest of the reference network its ratios are for.

        Raises:
            UnknownNameError: If there is no such artefact.
        """

    def latest_predictor(self, target: str, space: str) -> str | None:
        """SHA-256 of the predictor registered last for a target and space."""
