"""`nas predict`: latency of networks from what was measured before, in well under a second.

Imports nothing heavy: no database, no ONNX, no SciPy.
"""

from __future__ import annotations

from typing import Annotated

import typer

from nas.cli.options import DeviceOption, Format, FormatOption


def predict(
    architectures: Annotated[list[str], typer.Argument(help="Architecture keys.")],
    device: DeviceOption = "local",
    output_format: FormatOption = Format.table,
) -> None:
    """Predict latency with its interval, without measuring."""
    from devices.device import Target
    from devices.local import resolve
    from nas.cli.output import print_json, print_rows
    from nas.settings import Settings
    from predictors.errors import NotCalibratedError
    from predictors.models.block_lut import BlockLut
    from search_spaces import SPACES, Architecture

    target = resolve(Target.parse(device))
    archs = [Architecture.parse(key) for key in architectures]
    rows = []
    for name in dict.fromkeys(arch.space for arch in archs):
        space = SPACES.get(name)
        population = space.population([arch for arch in archs if arch.space == name])
        file = Settings.from_environment().predictor(target.key, name)
        if not file.exists():
            msg = (
                f"{target.key} was never measured for {name}; "
                f"run: nas device calibrate {device} --space {name}"
            )
            raise NotCalibratedError(msg)
        predictor = BlockLut.loads(file.read_bytes())
        prediction = predictor.predict(population)
        rows += [
            {
                "architecture": population[row].key,
                "kind": "predicted",
                "latency_ms": float(prediction.median_ms[row]),
                "lower_ms": float(prediction.lower_ms[row]),
                "upper_ms": float(prediction.upper_ms[row]),
                "level": prediction.level,
                "extrapolated": bool(prediction.extrapolated[row]),
                "target": target.key,
                "measured_networks": predictor.provenance.get("networks", 0),
            }
            for row in range(len(population))
        ]
    if output_format is Format.json:
        print_json(rows)
    else:
        columns = ["architecture", "kind", "latency_ms", "lower_ms", "upper_ms", "extrapolated"]
        title = f"{target.key}, 90 % interval, from {rows[0]['measured_networks']} networks"
        print_rows(rows, columns, title)
