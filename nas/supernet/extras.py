"""Optional packages: imported when they are needed, missed with the command that brings them."""

from __future__ import annotations

import importlib
from types import ModuleType

from nas.errors import MissingExtraError


def require(module: str, extra: str) -> ModuleType:
    """Import a module that an extra of this distribution brings.

    Raises:
        MissingExtraError: If it is not installed.

    Example:
        >>> require("json", "train").__name__
        'json'
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        msg = (
            f"this needs {package}, which cannot be imported ({error}); "
            f"run: pip install 'hardware-aware-nas[{extra}]'"
        )
        raise MissingExtraError(msg) from error
