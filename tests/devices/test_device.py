from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.device import Target
from devices.errors import DeviceUnavailableError
from devices.local import resolve
from search_spaces.errors import UsageError

TARGETS = st.builds(
    Target,
    device=st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True),
    runtime=st.sampled_from(["ort", "tflite"]),
    precision=st.sampled_from(["fp32", "int8"]),
    threads=st.integers(1, 256),
    batch=st.integers(1, 512),
)


@given(target=TARGETS)
def test_a_key_reads_back_as_the_same_target(target: Target) -> None:
    assert Target.parse(target.key) == target


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("local", Target("local", "ort", "fp32", 1, 1)),
        ("pi-5.rev2", Target("pi-5.rev2")),
        ("local:ort-fp32-t2", Target("local", threads=2)),
        ("local:ort-int8-t4-b16", Target("local", "ort", "int8", 4, 16)),
        (" Local:ORT-FP32-T1-B1\n", Target("local")),
    ],
)
def test_a_target_is_read_as_users_write_it(text: str, target: Target) -> None:
    assert Target.parse(text) == target


def test_batch_one_is_left_out_of_the_key() -> None:
    assert Target("local").key == "local:ort-fp32-t1"
    assert Target("local", batch=2).key == "local:ort-fp32-t1-b2"


@pytest.mark.parametrize(
    "text",
    ["", " ", ":", "local:", "local:ort", "local:ort-fp32", "local:ort-fp32-t", "-local", "a b",
     "local:ort-fp32-t1-b", "local:ort-fp32-t-1", "local:ort-fp32-t1:x", "lo/cal", "gerät"],
)  # fmt: skip
def test_another_form_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="local:ort-fp32-t1") as caught:
        Target.parse(text)

    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("text", ["local:ort-fp32-t0", "local:ort-fp32-t1-b0"])
def test_no_threads_or_no_batch_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="1 or more"):
        Target.parse(text)


def test_local_becomes_this_machines_own_name_which_is_accepted_too() -> None:
    here = resolve(Target("local", threads=2))

    assert here.device != "local"
    assert here.threads == 2
    assert resolve(here) == here


def test_a_device_out_of_reach_is_refused_naming_this_one() -> None:
    here = resolve(Target("local")).device

    with pytest.raises(DeviceUnavailableError, match=f"'jetson' .* {here!r}"):
        resolve(Target("jetson"))
