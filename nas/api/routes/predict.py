"""Predicted latencies: the route that is asked thousands of times."""

from __future__ import annotations

import json

from fastapi import APIRouter, Response

from nas.api import problems
from nas.api.context import ContextDep
from nas.api.models import Predictions, PredictRequest

router = APIRouter(tags=["predict"])


@router.post(
    "/predict", summary="Predict latencies, measuring nothing", response_model=Predictions,
    responses=problems.responses(409, 422),
)  # fmt: skip
def predict(body: PredictRequest, context: ContextDep) -> Response:
    """Median and interval of each network, in the order of the request."""
    rows = context.predictors.rows(body.architectures, body.device)
    # Rows are our own: to validate and convert them again would take longer than to predict them.
    return Response(
        json.dumps({"predictions": rows}, allow_nan=False), media_type="application/json"
    )
