"""The application: routes, errors, the token, and what lives as long as the server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from anyio.to_thread import run_sync
from fastapi import Depends, FastAPI
from fastapi.routing import APIRoute

from nas.api import problems
from nas.api.auth import require
from nas.api.context import Context
from nas.api.guard import LARGEST_BODY, LOOPBACK_NAMES, Guard
from nas.api.predictions import Predictors
from nas.api.routes import agent, devices, health, measurements, predict, searches, spaces
from nas.api.runner import Command, Runner, resume_command
from nas.service import Service

_DESCRIPTION = """\
Search for neural networks that keep a latency budget on the device you have.

Errors are problem details (RFC 9457); quantities carry their unit in the name of the field; what is
`predicted` is never called `measured`.
"""


class Api(FastAPI):
    """FastAPI whose description knows our problems, and nothing of its own ones."""

    def openapi(self) -> dict[str, Any]:
        """The description of all routes."""
        if not self.openapi_schema:
            schema = super().openapi()
            for operation in (o for path in schema["paths"].values() for o in path.values()):
                if "HTTPValidationError" in str(operation["responses"].get("422")):
                    del operation["responses"]["422"]
            schemas = schema["components"]["schemas"]
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            schemas.update(problems.schemas())
        return super().openapi()


def create_app(
    open_service: Callable[[], Service], token: str | None, *,
    command: Command = resume_command, largest_body: int = LARGEST_BODY,
) -> FastAPI:  # fmt: skip
    """Build the application.

    Args:
        open_service: Opens the use cases when the server starts; closed when it ends.
        token: What clients must send; None lets everybody in, but only by a loopback name, so
            that no web page can reach it through the user's browser.
        command: What works on a submitted search, given its name and output folder.
        largest_body: Limit of a request's body [bytes].
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service = await run_sync(open_service)
        runner = Runner(service.store, service.settings, command)
        try:
            await run_sync(runner.start)
            app.state.context = Context(service, runner, Predictors(service))
            yield
            await run_sync(runner.close)
        finally:
            service.store.close()

    app = Api(
        title="hardware-aware-nas", version=_version(), description=_DESCRIPTION,
        lifespan=lifespan, generate_unique_id_function=_operation_name,
        # Their pages load scripts from elsewhere; /openapi.json is enough.
        docs_url=None, redoc_url=None,
    )  # fmt: skip
    app.include_router(health.router)
    for module in (predict, devices, spaces, measurements, searches, agent):
        app.include_router(
            module.router, prefix="/v1", dependencies=[Depends(require(token))],
            responses=problems.responses(401, 413, 500, 503),
        )  # fmt: skip
    problems.register(app)
    hosts = LOOPBACK_NAMES if token is None else None
    app.add_middleware(Guard, largest_body=largest_body, hosts=hosts)
    return app


def _operation_name(route: APIRoute) -> str:
    return route.name


def _version() -> str:
    try:
        return version("hardware-aware-nas")
    except PackageNotFoundError:
        return "0"
