"""What could not be sent is on the disk, for its own server only, and readable by nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from devices.agent.spool import Kept, Spool
from devices.agent.work import Claim, Item, Work
from devices.benchmark import Plan
from devices.device import Target

ITEM = Item(4, "small:4", "network", "d" * 64, "{}")
CLAIM = Claim(7, "token", 60.0, Work(Target("x"), Plan(), False, (ITEM,)))
SERVER = "https://nas.example"


def kept(now_s: float = 1000.0) -> Kept:
    return Kept.of(CLAIM, ITEM, {"failure": "because"}, now_s)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path, SERVER, 1000.0)


def test_what_is_kept_is_there_for_the_next_process(spool: Spool, tmp_path: Path) -> None:
    spool.add(kept())

    again = Spool(tmp_path, SERVER, 1001.0)

    assert again.entries() == (kept(),)
    assert again.find(CLAIM, ITEM) == kept()


def test_another_server_has_a_file_of_its_own(spool: Spool, tmp_path: Path) -> None:
    spool.add(kept())

    assert len(Spool(tmp_path, "https://other.example", 1000.0)) == 0


def test_what_was_sent_is_gone_and_an_empty_file_with_it(spool: Spool, tmp_path: Path) -> None:
    spool.add(kept())
    spool.remove(kept())

    assert not spool.path.exists()
    assert len(Spool(tmp_path, SERVER, 1000.0)) == 0


def test_half_a_line_is_dropped_and_the_next_begins_on_a_line_of_its_own(
    spool: Spool, tmp_path: Path
) -> None:
    spool.add(kept())
    with spool.path.open("a") as file:
        file.write('{"job_id": 7, "tok')

    again = Spool(tmp_path, SERVER, 1000.0)
    again.add(kept(2000.0))

    assert [entry.kept_at_s for entry in Spool(tmp_path, SERVER, 1000.0).entries()] == [
        1000.0, 2000.0
    ]  # fmt: skip


def test_after_a_week_nobody_waits_for_it(spool: Spool, tmp_path: Path) -> None:
    spool.add(kept())

    assert len(Spool(tmp_path, SERVER, 1000.0 + 8 * 86_400)) == 0


def test_tokens_are_the_users_own(spool: Spool) -> None:
    spool.add(kept())
    spool.add(kept(1001.0))
    spool.remove(kept())

    assert spool.path.stat().st_mode & 0o077 == 0


def test_an_outcome_belongs_to_its_item_only(spool: Spool) -> None:
    spool.add(kept())

    assert spool.find(CLAIM, Item(5, "small:5", "network", "d" * 64, "{}")) is None
    assert spool.find(CLAIM, Item(4, "small:4", "network", "e" * 64, "{}")) is None
