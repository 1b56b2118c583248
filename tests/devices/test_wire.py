from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.benchmark import Plan
from devices.device import Target
from devices.wire import Job, read_model, write_model
from search_spaces.errors import UsageError

JOB = Job(
    Target("box", threads=2, batch=4), Plan(1, 3, 5, 0.25), count=7, group=3,
    owner="run 7 — \"Größe\"\n{}", lock_timeout_s=1.5,
)  # fmt: skip


def sent(job: Job) -> bytes:
    stream = io.BytesIO()
    job.write(stream)
    return stream.getvalue()


def test_a_job_arrives_as_it_was_sent() -> None:
    assert Job.read(io.BytesIO(sent(JOB))) == JOB


def test_a_job_is_one_line_so_that_models_can_follow() -> None:
    assert sent(JOB).count(b"\n") == 1
    assert sent(JOB).endswith(b"\n")


@given(models=st.lists(st.binary(min_size=1, max_size=300), max_size=5))
def test_models_arrive_in_order_after_the_job(models: list[bytes]) -> None:
    stream = io.BytesIO()
    JOB.write(stream)
    for model in models:
        write_model(stream, model)
    stream.seek(0)

    assert Job.read(stream) == JOB
    assert [read_model(stream) for _ in models] == models
    assert stream.read() == b""


@pytest.mark.parametrize("kept", [0, 3, 8, 9, 17])
def test_a_stream_that_ends_within_a_model_is_refused(kept: int) -> None:
    stream = io.BytesIO()
    write_model(stream, b"0123456789")

    with pytest.raises(UsageError, match="ended within a model"):
        read_model(io.BytesIO(stream.getvalue()[:kept]))


def test_an_impossible_length_is_refused_before_memory_is_taken() -> None:
    with pytest.raises(UsageError, match="ended within a model"):
        read_model(io.BytesIO(b"\xff" * 8 + b"model"))


@pytest.mark.parametrize(
    "line",
    [b"", b"\n", b"not json\n", b"[]\n", b"{}\n", b"null\n", b"\xff\xfe\n", sent(JOB)[:-20]],
)
def test_what_is_no_job_is_refused(line: bytes) -> None:
    with pytest.raises(UsageError, match="not a measuring job"):
        Job.read(io.BytesIO(line))


@pytest.mark.parametrize(
    ("field", "value"),
    [("target", "?"), ("plan", {"rounds": 3}), ("plan", None), ("count", "many"), ("group", None)],
)
def test_a_field_of_another_form_is_refused(field: str, value: object) -> None:
    data = json.loads(sent(JOB))
    data[field] = value

    with pytest.raises(UsageError):
        Job.read(io.BytesIO(json.dumps(data).encode()))
