from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from nas.errors import InvalidRequestError
from nas.request import SearchRequest


def test_a_budget_is_all_that_must_be_said() -> None:
    request = SearchRequest.build(budget_ms=5.0)

    assert (request.space, request.device, request.risk) == ("mobilenetv3", "local", 0.05)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"budget": 5.0}, "budget is 5.0: "),
        ({"budget_ms": 0.0}, "budget_ms is 0.0: "),
        ({"budget_ms": -1.0}, "budget_ms is -1.0: "),
        ({"budget_ms": float("nan")}, "budget_ms is nan: "),
        ({"budget_ms": float("inf")}, "budget_ms is inf: "),
        ({"budget_ms": "5ms"}, "budget_ms is '5ms': "),
        ({"risk": 0.0}, "risk is 0.0: "),
        ({"risk": 0.5}, "risk is 0.5: "),
        ({"seed": -1}, "seed is -1: "),
        ({"seed": 1.5}, "seed is 1.5: "),
        ({"batch": 0}, "batch is 0: "),
        ({"batch": 65}, "batch is 65: "),
        ({"max_measurements": 0}, "max_measurements is 0: "),
        ({"calibration_networks": 2}, "calibration_networks is 2: "),
        ({"occasions": 2}, "occasions is 2: "),
        ({"space": 3}, "space is 3: "),
    ],
    ids=str,
)
def test_a_wrong_field_is_refused_in_one_sentence(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        SearchRequest.build(**({"budget_ms": 5.0} | changes))

    message = str(caught.value)
    assert message.startswith(says)
    assert "\n" not in message
    assert len(message) < 120
    assert caught.value.exit_code == 2


def test_a_missing_budget_is_asked_for_and_nothing_else_is_blamed() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        SearchRequest.build(device="local", strategy="random")

    assert "budget_ms" in str(caught.value)
    assert "random" not in str(caught.value)


@given(
    st.builds(
        SearchRequest,
        budget_ms=st.floats(1e-3, 1e6),
        risk=st.floats(0.001, 0.499),
        seed=st.integers(0, 2**63),
        batch=st.integers(1, 64),
        strategy=st.sampled_from(["evolution", "random"]),
        device=st.text(max_size=10),
    )
)
def test_a_request_is_read_back_as_it_was_stored(request: SearchRequest) -> None:
    assert SearchRequest.loads(request.model_dump_json()) == request


def test_a_request_cannot_be_changed() -> None:
    request = SearchRequest.build(budget_ms=5.0)

    with pytest.raises(ValidationError, match="frozen"):
        request.budget_ms = 6.0
