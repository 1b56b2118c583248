"""Where results go: into the store and into the run's folder."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from nas.export import export_trained
from nas.export.files import arch_json, export_onnx, pareto_csv, write_file
from nas.knowledge import Knowledge
from nas.result import SearchResult
from nas.search import Run
from nas.settings import Settings
from nas.store import Store
from nas.supernet.checkpoint import packaged
from predictors.models.block_lut import BlockLut
from search_spaces.architecture import Architecture
from search_spaces.onnx_build import build_onnx


def weights_kind(space: str, weights: Path | None, data: Path | None) -> str:
    """Whose weights the exported file will hold: `given`, `super-network` or `seeded`."""
    if weights is not None:
        return "given"
    return "super-network" if packaged(space) is not None and data is not None else "seeded"


def deliver(
    run: Run, result: SearchResult, folder: Path, weights: Path | None, data: Path | None
) -> None:
    """Result into the store, then into the folder; artefacts are kept by their SHA-256.

    Args:
        run: The run.
        result: Its answer.
        folder: Where files go.
        weights: File of given weights.
        data: Folder of images, on which a network of a packaged super-network is recalibrated.
    """
    store, run_id = run.store, run.record.id
    text = json.dumps(result.as_json(), indent=2) + "\n"
    files: dict[str, str | bytes] = {
        "result.json": text, "pareto.csv": pareto_csv(result.candidates)
    }  # fmt: skip
    if result.winner:
        arch = Architecture.parse(result.winner.key)
        files["arch.json"] = arch_json(result)
        skeleton = build_onnx(run.place.space.graph(arch), metadata={"architecture": arch.key})
        digest = store.add_artefact(skeleton, "application/onnx")
        store.name_artefact(run_id, "best.weightless.onnx", digest)
        checkpoint = packaged(run.place.space.name)
        if result.weights == "super-network" and checkpoint is not None:
            name, model = export_trained(run.place.space, arch, checkpoint, data)
            # Seeded weights are made again at any time, these only with the images.
            store.name_artefact(run_id, name, store.add_artefact(model, "application/onnx"))
        else:
            name, model = export_onnx(run.place.space, arch, weights)
        files[name] = model
    store.finish_run(run_id, result.state, text, datetime.now(UTC).isoformat())
    for name, content in files.items():
        write_file(folder / name, content)
        if isinstance(content, str):
            kind = "application/json" if name.endswith("json") else "text/csv"
            digest = store.add_artefact(content.encode(), kind)
            store.name_artefact(run_id, name, digest)


def keep_predictor(store: Store, settings: Settings, known: Knowledge) -> None:
    """A measured predictor into the store, and where `nas predict` finds it at once."""
    predictor = known.predictor
    if not isinstance(predictor, BlockLut):
        # Others are built from the stored samples in no time.
        return
    predictor = replace(
        predictor,
        provenance={
            "kind": "measured",
            "networks": len(known.by_network),
            "measurements": len(known.networks),
            "blocks": len(known.blocks),
            "last": known.networks[-1].taken_at if known.networks else None,
        },
    )
    data = predictor.dumps()
    digest = store.add_artefact(data, "application/x-npz")
    now = datetime.now(UTC).isoformat()
    store.add_predictor(
        known.target, known.space.name, predictor.model, digest, predictor.provenance, now
    )
    write_file(settings.predictor(known.target, known.space.name), data)
