"""`nas predict`: latency of networks from what was measured before, in well under a second.

For this machine nothing heavy is imported: no database, no ONNX, no SciPy.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli.options import DeviceOption, Format, FormatOption

if TYPE_CHECKING:
    from nas.settings import Settings


def predict(
    architectures: Annotated[list[str], typer.Argument(help="Architecture keys.")],
    device: DeviceOption = "local",
    output_format: FormatOption = Format.table,
) -> None:
    """Predict latency with its interval, without measuring."""
    from nas.cli.output import print_json, print_rows
    from nas.settings import Settings

    settings = Settings.from_environment()
    rows = _from_files(architectures, device, settings)
    if rows is None:
        from nas.service import Service

        rows = Service.open(settings).predict(architectures, device)
    if output_format is Format.json:
        print_json(rows)
    else:
        columns = ["architecture", "kind", "latency_ms", "lower_ms", "upper_ms", "extrapolated"]
        first = rows[0]
        title = (
            f"{first['target']}, 90 % interval, by {first['model']} from "
            f"{first['measured_networks']} measured networks"
        )
        print_rows(rows, columns, title)


def _from_files(keys: list[str], device: str, settings: Settings) -> list[dict[str, Any]] | None:
    """Rows from this machine's own predictor files; None if it takes the store to answer."""
    from devices.device import Target
    from devices.environment import local_device
    from devices.local import LOCAL
    from nas.prediction import grouped, prediction_rows
    from predictors.models.block_lut import BlockLut
    from search_spaces import SPACES
    from search_spaces.errors import UsageError

    try:
        target = Target.parse(device)
    except UsageError:
        return None
    here = local_device().name
    if target.device not in (LOCAL, here):
        return None
    rows = []
    for name, archs in grouped(keys).items():
        space = SPACES.get(name)
        population = space.population(archs)
        file = settings.predictor(replace(target, device=here).key, name)
        if not file.exists():
            return None
        predictor = BlockLut.loads(file.read_bytes())
        networks = int(predictor.provenance.get("networks", 0))
        rows += prediction_rows(predictor, population, networks)
    return rows
