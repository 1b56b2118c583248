from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from devices.device import Device
from nas.errors import StoreError
from nas.store import SqlStore

ROOT = Path(__file__).resolve().parents[3]
NOW = "2026-01-02T03:04:05Z"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A closed store with one run."""
    file = tmp_path / "store.db"
    with SqlStore(file) as store:
        store.open_run("run-1", "{}", NOW)
    return file


@pytest.fixture
def on_connect() -> Iterator[Callable[[str], None]]:
    """Runs a pragma on every connection made from now on."""
    added: list[Any] = []

    def add(pragma: str) -> None:
        def listener(connection: Any, _record: Any) -> None:
            connection.execute(pragma)

        event.listen(Engine, "connect", listener)
        added.append(listener)

    yield add
    for listener in added:
        event.remove(Engine, "connect", listener)


def sql(path: Path, statement: str) -> Any:
    with closing(sqlite3.connect(path)) as connection, connection:
        return connection.execute(statement).fetchone()


def test_a_new_store_creates_its_folders(tmp_path: Path) -> None:
    with SqlStore(tmp_path / "a" / "b" / "store.db") as store:
        assert store.runs() == []

    assert (tmp_path / "a" / "b" / "store.db").is_file()


def test_a_closed_store_is_one_file(path: Path) -> None:
    assert list(path.parent.iterdir()) == [path]


def test_a_path_and_its_url_are_the_same_store(path: Path) -> None:
    for location in (path, str(path), f"sqlite:///{path}", f"sqlite+pysqlite:///{path}"):
        with SqlStore(location) as store:
            assert [run.id for run in store.runs()] == ["run-1"]


def test_a_path_may_hold_what_is_special_in_urls(tmp_path: Path) -> None:
    odd = tmp_path / "50% of #1?x=1 ü"
    with SqlStore(odd / "store.db") as store:
        store.open_run("run-1", "{}", NOW)

    assert (odd / "store.db").is_file()


def test_sqlite_is_set_up_to_share_and_to_survive(path: Path) -> None:
    asked: dict[str, Any] = {}

    def spy(connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        for pragma in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout"):
            raw = connection.connection.cursor().execute(f"PRAGMA {pragma}")
            asked[pragma] = raw.fetchone()[0]

    event.listen(Engine, "before_cursor_execute", spy)
    try:
        with SqlStore(path) as store:
            store.runs()
    finally:
        event.remove(Engine, "before_cursor_execute", spy)

    assert asked == {
        "journal_mode": "wal",
        "synchronous": 1,
        "foreign_keys": 1,
        "busy_timeout": 30_000,
    }


def test_a_reader_sees_one_moment_while_others_write(path: Path) -> None:
    with SqlStore(path) as store, closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("UPDATE runs SET state = 'failed'")

        assert store.run("run-1").state == "running"
        other.rollback()


def test_a_newer_schema_is_refused_and_left_alone(path: Path) -> None:
    sql(path, "UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(StoreError, match=r"has schema 9999, .* a newer version wrote it; update"):
        SqlStore(path)

    assert sql(path, "SELECT version_num FROM alembic_version") == ("9999",)


@pytest.mark.parametrize("table", ["bookmarks (url TEXT)", "alembic_version (version_num TEXT)"])
def test_a_database_of_another_program_is_refused_and_left_alone(
    tmp_path: Path, table: str
) -> None:
    path = tmp_path / "other.db"
    sql(path, f"CREATE TABLE {table}")
    before = path.read_bytes()

    with pytest.raises(StoreError, match="of another program; give the path of a new file"):
        SqlStore(path)

    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"hello\n", b"# notes\n" * 1000])
def test_a_file_that_is_no_database_is_refused_and_left_alone(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)

    with pytest.raises(StoreError, match=r"^cannot open \S+notes\.txt: it is not a database"):
        SqlStore(path)

    assert path.read_bytes() == content


def test_a_damaged_database_is_a_store_error(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))

    with pytest.raises(StoreError, match="is damaged"), SqlStore(path) as store:
        store.runs()


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"is a folder; give the path of a file in it"):
        SqlStore(tmp_path)


def test_a_file_where_a_folder_should_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")

    with pytest.raises(StoreError, match=r"^cannot open \S+store\.db: .*; give another path"):
        SqlStore(tmp_path / "file" / "store.db")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)

    with pytest.raises(StoreError, match=r"cannot be opened or created; check the folder"):
        SqlStore(folder / "store.db")


def test_a_store_that_cannot_be_created_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"cannot be opened or created; check the folder"):
        SqlStore(f"sqlite:///file:{tmp_path}/store.db?mode=ro&uri=true")


def test_a_read_only_store_can_be_read_and_says_why_it_is_not_written(path: Path) -> None:
    with SqlStore(f"sqlite:///file:{path}?mode=ro&uri=true") as store:
        assert store.run("run-1").state == "running"

        with pytest.raises(StoreError, match=r"^cannot write to .*: it is read-only; allow"):
            store.add_device(Device("box"))


def test_a_full_disk_is_said_and_loses_nothing_stored(
    path: Path, on_connect: Callable[[str], None]
) -> None:
    on_connect("PRAGMA max_page_count = 60")
    with SqlStore(path) as store:
        with pytest.raises(StoreError, match=r"^cannot write to .*: the disk is full; free some"):
            store.add_artefact(bytes(10**6), "application/octet-stream")

        sha256 = store.add_artefact(b"small", "text/plain")
        assert store.artefact(sha256) == b"small"


def test_a_lock_that_is_never_freed_is_a_store_error(
    path: Path, on_connect: Callable[[str], None]
) -> None:
    on_connect("PRAGMA busy_timeout = 20")
    with SqlStore(path) as store, closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match=r"another process kept it locked for 30 s"):
            store.add_device(Device("box"))
        other.rollback()

        store.add_device(Device("box"))
        assert store.devices() == [Device("box")]


@pytest.mark.parametrize("url", ["nosuch://host/db", "://", "postgresql+nosuch://u:secret@h/db"])
def test_an_unusable_url_is_a_store_error_that_tells_no_password(url: str) -> None:
    with pytest.raises(StoreError) as caught:
        SqlStore(url)

    assert "secret" not in str(caught.value)


def test_in_memory_stores_are_apart() -> None:
    with SqlStore.in_memory() as one, SqlStore.in_memory() as other:
        one.open_run("run-1", "{}", NOW)

        assert other.runs() == []


@pytest.mark.slow
def test_neither_a_new_nor_a_current_store_loads_alembic(tmp_path: Path) -> None:
    code = (
        "import sys; from nas.store import SqlStore\n"
        "for _ in range(2): SqlStore(sys.argv[1]).close()\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('alembic', 'mako')])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "store.db")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)

    assert done.stdout == "[]\n"
