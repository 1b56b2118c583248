from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.measurement import Measurement, Samples
from devices.reference import reference_graph
from nas.outcomes import read_outcome
from nas.trial import Failure
from search_spaces.errors import UsageError

COLUMNS = ("clock_ms", "wall_ms", "before_ms", "after_ms")


def wire(**changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "samples": {name: [1.0, 2.5] for name in COLUMNS},
        "reference": reference_graph().digest,
        "occasion": "20260102T030405-7-abcdef",
        "environment": {"load_1min": 0.5, "affinity": [0, 1]},
        "taken_at": "2026-01-02T03:04:05.123456+00:00",
    }
    return {name: value for name, value in (fields | changes).items() if value is not ...}


def samples(**changes: Any) -> dict[str, Any]:
    return {**wire()["samples"], **changes}


def read(outcome: Any) -> Measurement | Failure:
    return read_outcome(outcome, subject="toy:0", kind="network", digest="d", target="pi:t")


def test_a_measurement_is_read_as_it_was_sent() -> None:
    found = read(json.loads(json.dumps(wire())))

    assert found == Measurement(
        subject="toy:0", kind="network", digest="d", target="pi:t",
        samples=Samples(*[(1.0, 2.5)] * 4), reference=reference_graph().digest,
        occasion="20260102T030405-7-abcdef",
        environment={"load_1min": 0.5, "affinity": [0, 1]},
        taken_at="2026-01-02T03:04:05.123456+00:00",
    )  # fmt: skip


def test_a_failure_is_read_and_kept_short() -> None:
    assert read({"failure": "out of memory"}) == Failure("out of memory")
    assert read({"failure": "x" * 9999}) == Failure("x" * 2000)


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        ([], "outcome must be a JSON object"),
        ({}, "samples must be a JSON object of columns, not nothing"),
        ({"failure": ""}, "failure must be a text"),
        ({"failure": {"a": 1}}, "failure must be a text"),
        (wire(samples=[1, 2]), "samples must be a JSON object"),
        (wire(samples={}), r"samples\.clock_ms must be a list of 1 to 10000 numbers"),
        (wire(samples=samples(wall_ms="12")), r"samples\.wall_ms must be a list"),
        (wire(samples=samples(wall_ms=[])), r"samples\.wall_ms must be a list"),
        (wire(samples=samples(wall_ms=[1.0] * 10_001)), r"samples\.wall_ms must be a list"),
        (wire(samples=samples(wall_ms=[1.0])), "samples: samples need equally long"),
        (wire(samples=samples(after_ms=[1.0, 0])), r"samples\.after_ms must hold positive"),
        (wire(samples=samples(after_ms=[1.0, -1.0])), "positive milliseconds, not -1.0"),
        (wire(samples=samples(after_ms=[1.0, float("nan")])), "milliseconds, not nan"),
        (wire(samples=samples(after_ms=[1.0, float("inf")])), "milliseconds, not inf"),
        (wire(samples=samples(after_ms=[1.0, 10**400])), r"samples\.after_ms must hold"),
        (wire(samples=samples(after_ms=[1.0, True])), "milliseconds, not True"),
        (wire(samples=samples(after_ms=[1.0, "2"])), "milliseconds, not '2'"),
        (wire(samples=samples(after_ms=[1.0, 1e-6])), "samples: samples must be positive"),
        (wire(reference=...), "reference must be [0-9a-f]{64}, .* not nothing; use the same"),
        (wire(reference="r1"), "reference must be .* not 'r1'"),
        (wire(occasion=""), "occasion must be a text"),
        (wire(occasion="a\nb"), r"occasion must be .* not 'a\\nb'"),
        (wire(occasion="\ud800"), "occasion must be"),
        (wire(occasion="x" * 201), "occasion must be a text of 1 to 200"),
        (wire(environment=...), "environment must be a JSON object, not nothing"),
        (wire(environment="{}"), "environment must be a JSON object"),
        (wire(environment={"x": float("inf")}), "environment must hold JSON values only"),
        (wire(environment={"x": "y" * 10**5}), "environment has 100009 bytes"),
        (wire(taken_at=...), "taken_at must be an ISO 8601 time, not nothing"),
        (wire(taken_at=1767322800), "taken_at must be an ISO 8601 time"),
        (wire(taken_at="2026-01-02T03:04:05"), "taken_at: .* with its zone"),
    ],
)
def test_each_wrong_field_is_named(outcome: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        read(outcome)

    assert len(str(caught.value)) < 400, "what was sent is not sent back whole"


def test_nesting_without_end_is_refused() -> None:
    deep: Any = {}
    for _ in range(100_000):
        deep = {"x": deep}

    with pytest.raises(UsageError, match="environment must hold JSON values only"):
        read(wire(environment=deep))


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(field=st.sampled_from([*wire(), "failure"]), value=_json)
def test_whatever_stands_in_a_field_it_is_read_or_refused(field: str, value: Any) -> None:
    try:
        found = read(wire(**{field: value}))
    except UsageError:
        return
    assert isinstance(found, Measurement | Failure)


@given(column=st.sampled_from(COLUMNS), value=_json)
def test_whatever_stands_in_samples_it_is_read_or_refused(column: str, value: Any) -> None:
    try:
        found = read(wire(samples=samples(**{column: value})))
    except UsageError:
        return
    assert isinstance(found, Measurement)
