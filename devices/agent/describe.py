"""Where results come from, in a few lines: what the README of a committed pack states."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from devices.agent.offline import Results
from devices.measurement import Samples

# Of the environment record, in the order of interest; those that are there are shown.
_ENVIRONMENT = (
    "accelerator", "driver", "torch", "cuda", "cudnn", "tf32", "cudnn_benchmark", "normalisation",
    "onnxruntime", "optimisation_level", "clock", "python", "kernel",
)  # fmt: skip


def provenance(results: Results) -> dict[str, str]:
    """Device, software, dates, and how certain the ratios are, as texts."""
    lines = [line for line in results.lines if "failure" not in line]
    samples = [Samples.from_json(line["samples"]) for line in lines]
    facts = {
        "device": results.header.get("device"),
        "target": results.header.get("target"),
        "pack (SHA-256)": results.header.get("pack"),
        "networks": f"{len(lines)} measured, {len(results.lines) - len(lines)} failed",
        "processes": len({line.get("occasion") for line in lines}),
        "taken at": _span(str(line.get("taken_at", "")) for line in lines),
        "reference network (digest)": _all(line.get("reference") for line in lines),
    }
    for name in _ENVIRONMENT:
        facts[name] = _all(_environment(line).get(name) for line in lines)
    if samples:
        reference = [np.median((*s.before_ms, s.after_ms[-1])) for s in samples]
        ratio_se = [100.0 * s.ratio_se for s in samples]
        facts |= {
            "samples of a network": _range([len(s.clock_ms) for s in samples], "d", ""),
            "time of a network": _range([np.median(s.clock_ms) for s in samples], ".3f", " ms"),
            "time of the reference": _range(reference, ".3f", " ms"),
            "standard error of a ratio": f"{np.median(ratio_se):.2f} % in the middle",
        }
    return {name: str(value) for name, value in facts.items() if value not in (None, "")}


def markdown(facts: Mapping[str, str]) -> str:
    """The facts as a table."""
    rows = "".join(f"| {name} | {value} |\n" for name, value in facts.items())
    return f"| field | value |\n|---|---|\n{rows}"


def _environment(line: Mapping[str, Any]) -> Mapping[str, Any]:
    found = line.get("environment")
    return found if isinstance(found, Mapping) else {}


def _all(values: Iterable[object]) -> str:
    """The values that occur, normally one."""
    return ", ".join(sorted({str(value) for value in values if value is not None}))


def _span(times: Iterable[str]) -> str:
    known = sorted(time for time in times if time)
    return f"{known[0]} to {known[-1]}" if known else ""


def _range(values: Iterable[Any], form: str, unit: str) -> str:
    known = sorted(values)
    return f"{known[0]:{form}} to {known[-1]:{form}}{unit}"
