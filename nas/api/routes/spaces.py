"""Search spaces: their names, and the choices of each."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from nas.api import problems
from nas.api.models import ChoiceRow, SpaceDetail, SpaceRow, Spaces
from search_spaces import SPACES
from search_spaces.space import SearchSpace

router = APIRouter(tags=["spaces"])


@router.get("/spaces", summary="All search spaces")
def list_spaces() -> Spaces:
    """Every search space that is installed."""
    return Spaces(spaces=[SpaceRow(**_row(SPACES.get(name))) for name in SPACES.names()])


@router.get(
    "/spaces/{name}", summary="One search space with its choices",
    responses=problems.responses(404),
)  # fmt: skip
def show_space(name: str) -> SpaceDetail:
    """The choices in the order of the genes, each with its options."""
    space = SPACES.get(name)
    choices = [
        ChoiceRow(name=choice.name, options=[_plain(option) for option in choice.options])
        for choice in space.choices
    ]
    return SpaceDetail(**_row(space), choices=choices)


def _row(space: SearchSpace) -> dict[str, Any]:
    return {"space": space.name, "genes": len(space.choices), "size": str(space.size)}


def _plain(option: object) -> object:
    """An option as a JSON value."""
    if isinstance(option, tuple):
        return [_plain(part) for part in option]
    return option if isinstance(option, int | float | str | None) else str(option)
