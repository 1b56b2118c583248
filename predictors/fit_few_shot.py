"""`python -m predictors.fit_few_shot`: fit the packs that come with the package.

Reads published tables from `NAS_DATA`, writes predictors/packs/few_shot_SPACE.npz with a page that
says what it was fitted on and how well a prior of other devices foretells held-out ones.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from predictors.choose import PACKS
from predictors.models.few_shot import FewShot
from predictors.predictor import LatencyTable
from predictors.public_tables import FILES, public_tables, slug
from predictors.scores import coverage, mape_percent, spearman
from search_spaces import SPACES
from search_spaces.architecture import IntArray, Population
from search_spaces.errors import NasError, UsageError

SAMPLES = (3, 5, 10, 20)
# Networks tested on, and those a device's samples are chosen among; sources see others still.
_TESTED, _CANDIDATES, _SOURCE_ROWS = 1000, 600, 512
# Splits of devices into sources and held-out ones; once-for-all has no published split.
_SPLITS = {"nasbench201": ("ND",), "fbnet": ("FD", "F1", "F2", "F3", "F4", "FA")}
_OFA_HELD_OUT = 3


def rows_of(table: LatencyTable, rows: IntArray) -> LatencyTable:
    """Some networks of a table."""
    return LatencyTable(
        table.space, table.genes[rows], table.target, table.latency_ms[rows],
        table.relative_se[rows], table.kind, table.provenance,
    )  # fmt: skip


def held_out_scores(
    sources: Sequence[LatencyTable], targets: Sequence[LatencyTable], *, seed: int = 0,
    samples: Sequence[int] = SAMPLES,
) -> list[dict[str, float | str]]:  # fmt: skip
    """How well devices are foretold from a few of their networks, sources fitted afresh.

    Sources see 512 networks, samples are chosen among 600 others, 1,000 others still are tested
    on; the same for all devices.

    Returns:
        One row for each target and number of samples: `device`, `samples`, `spearman`,
        `mape_percent`, `coverage_90`.
    """
    space = SPACES.get(targets[0].space)
    order = np.random.default_rng(seed).permutation(min(map(len, [*sources, *targets])))
    taught, rest = order[:_SOURCE_ROWS], order[_SOURCE_ROWS:]
    pool, tested = rest[:_CANDIDATES], rest[_CANDIDATES : _CANDIDATES + _TESTED]
    prior = FewShot.fit(space, [rows_of(table, taught) for table in sources], seed=seed)
    result: list[dict[str, float | str]] = []
    for target in targets:
        candidates = Population(space, target.genes[pool])
        chosen = pool[prior.select(candidates, max(samples), np.random.default_rng(seed))]
        networks, truth = Population(space, target.genes[tested]), target.latency_ms[tested]
        for count in samples:
            prediction = prior.adapt(rows_of(target, chosen[:count])).predict(networks)
            result.append(
                {
                    "device": target.target.partition(":")[2],
                    "samples": count,
                    "spearman": spearman(truth, prediction.median_ms),
                    "mape_percent": mape_percent(truth, prediction.median_ms),
                    "coverage_90": coverage(truth, prediction),
                }
            )
    return result


def split_tables(folder: Path, task: str) -> tuple[list[LatencyTable], list[LatencyTable]]:
    """Sources and held-out devices of a published split, such as `ND`.

    Raises:
        UsageError: If there is no split of that name.
    """
    splits = json.loads((folder / "latency_splits.json").read_text(encoding="utf-8"))
    if task not in splits:
        msg = f"no split {task!r}; there are {', '.join(splits)}"
        raise UsageError(msg)
    split = splits[task]
    tables = {table.target: table for table in public_tables(folder, split["space"])}
    source, test = (
        [tables[f"imported:{slug(name)}"] for name in split[part]] for part in ("train", "test")
    )
    return source, test


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit and write the packs; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m predictors.fit_few_shot", description=__doc__)
    parser.add_argument("--space", choices=sorted(FILES), action="append", help="default: all")
    parser.add_argument("--data", type=Path, default=os.environ.get("NAS_DATA"))
    parser.add_argument("--output", type=Path, default=PACKS)
    chosen = parser.parse_args(arguments)
    try:
        if chosen.data is None or not Path(chosen.data).is_dir():
            msg = f"NAS_DATA is {chosen.data!r}, no folder; set it to that of the published tables"
            raise UsageError(msg)
        for space in chosen.space or sorted(FILES):
            _write(space, Path(chosen.data), chosen.output)
    except NasError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


def _write(space: str, data: Path, output: Path) -> None:
    tables = public_tables(data, space)
    pack = FewShot.fit(SPACES.get(space), tables)
    content = pack.dumps()
    output.mkdir(parents=True, exist_ok=True)
    file = output / f"few_shot_{space.replace('-', '_')}.npz"
    file.write_bytes(content)
    lines = [*_header(space, tables, pack, len(content)), *_figures(space, data, tables), ""]
    file.with_suffix(".md").write_text("\n".join(lines), encoding="utf-8")
    sys.stdout.write(f"{file}: {len(content) / 1e3:.0f} kB, {len(tables)} devices\n")


def _header(space: str, tables: Sequence[LatencyTable], pack: FewShot, size: int) -> list[str]:
    devices = ", ".join(str(table.provenance["device"]) for table in tables)
    return [
        f"# few_shot_{space.replace('-', '_')}.npz",
        "",
        f"Prior of device latency for `{space}`, fitted by `python -m predictors.fit_few_shot` "
        f"({size / 1e3:.0f} kB).",
        "",
        f"- Data: {tables[0].provenance['source']}; file `{FILES[space]}`.",
        f"- Devices ({len(tables)}): {devices}.",
        f"- Networks of each: {pack.provenance['networks_per_source']}, drawn with seed "
        f"{pack.provenance['seed']}. The pack holds their genotypes and standardised latencies.",
        "- Licence: MIT, as the data and this package.",
        "",
    ]


def _figures(space: str, data: Path, tables: Sequence[LatencyTable]) -> list[str]:
    """Held-out figures: mean over the devices of each split."""
    if space in _SPLITS:
        splits = {task: split_tables(data, task) for task in _SPLITS[space]}
    else:
        splits = {"last three": (list(tables[:-_OFA_HELD_OUT]), list(tables[-_OFA_HELD_OUT:]))}
    lines = [
        "## Held-out devices",
        "",
        "The pack itself was fitted on all devices; for these figures a prior was fitted on the "
        "sources of each split only (512 networks each), adapted to samples chosen by `select` "
        "among 600 others, and tested on others still (1,000, or what is left). One draw. "
        "MAPE of nasbench201 is dominated by cells without any path, which take almost no time.",
        "",
        "| split | held-out devices | samples | Spearman | MAPE % | coverage of 90 % interval |",
        "|---|---|---|---|---|---|",
    ]
    for task, (sources, targets) in splits.items():
        scores = held_out_scores(sources, targets)
        names = ", ".join(target.target.partition(":")[2] for target in targets)
        for count in SAMPLES:
            rows = [row for row in scores if row["samples"] == count]
            mean = {
                key: np.mean([float(row[key]) for row in rows])
                for key in ("spearman", "mape_percent", "coverage_90")
            }
            lines.append(
                f"| {task} | {names} | {count} | {mean['spearman']:.3f} | "
                f"{mean['mape_percent']:.1f} | {mean['coverage_90']:.2f} |"
            )
    return lines


if __name__ == "__main__":
    raise SystemExit(main())
