"""The store: what was measured, decided and found, appended and never rewritten."""

from nas.store.sql import SqlStore
from nas.store.store import Store

__all__ = ["SqlStore", "Store"]
