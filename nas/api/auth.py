"""Who may use the service: whoever knows its bearer token.

The token is made once and lies in a file that only its owner may read. It is compared in constant
time and never written to logs or addresses.
"""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import HTTPException, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from nas.errors import InvalidRequestError
from nas.settings import Settings
from search_spaces.errors import NasError

TOKEN_VARIABLE = "NAS_TOKEN"
_SHORTEST = 16
_BEARER = HTTPBearer(
    auto_error=False, description="The token that `nas serve` made or was given; see its output."
)


@dataclass(frozen=True, slots=True)
class Token:
    """The secret of a server.

    Attributes:
        secret: What clients send.
        origin: Where it lies, for people.
        is_new: Whether it was made just now.
    """

    secret: str
    origin: str
    is_new: bool = False

    def __repr__(self) -> str:
        """Without the secret: values end up in logs."""
        return f"Token(origin={self.origin!r})"


def find_token(
    settings: Settings, file: Path | None, environment: Mapping[str, str] = os.environ
) -> Token:
    """The token of a file, else of `NAS_TOKEN`, else of the user's data folder.

    A file that is missing is made, with a new token.

    Raises:
        NasError: If the file cannot be read or made, or holds no token.
    """
    if file is None and environment.get(TOKEN_VARIABLE):
        return Token(_checked(environment[TOKEN_VARIABLE], TOKEN_VARIABLE), TOKEN_VARIABLE)
    found = file or settings.home / "token"
    try:
        if file is None:
            settings.home.mkdir(parents=True, exist_ok=True)
        is_new = not found.exists() and _make(found)
    except OSError as error:
        msg = f"cannot make {found}: {error.strerror}; check the folder or use --token-file"
        raise NasError(msg) from error
    return Token(_checked(_read(found), str(found)), str(found), is_new)


def require(token: str | None) -> Callable[..., Awaitable[None]]:
    """A dependency that refuses requests without the token; None lets everybody pass."""
    wanted = token.encode() if token is not None else None

    async def authorise(
        given: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
    ) -> None:
        if wanted is None:
            return
        if given is None:
            raise _unauthorised("send the token of this service: Authorization: Bearer TOKEN", "")
        if not hmac.compare_digest(given.credentials.encode(), wanted):
            raise _unauthorised("the token is not that of this service", ', error="invalid_token"')

    return authorise


def _unauthorised(detail: str, error: str) -> HTTPException:
    return HTTPException(401, detail, {"WWW-Authenticate": f'Bearer realm="nas"{error}'})


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        msg = f"cannot read the token file {file}: {reason}; give a file with one line"
        raise NasError(msg) from error


def _checked(text: str, origin: str) -> str:
    secret = text.strip()
    if len(secret) < _SHORTEST or not secret.isascii() or not secret.isprintable() or " " in secret:
        msg = (
            f"{origin} holds no token: {_SHORTEST} or more printable ASCII characters without "
            "spaces are needed, such as those of: openssl rand -hex 32"
        )
        raise InvalidRequestError(msg)
    return secret


def _make(file: Path) -> bool:
    """Make a token; False if another process was faster."""
    draft = file.with_name(f"{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(secrets.token_urlsafe(32) + "\n")
        # A link appears at once and whole, and fails if the name is taken.
        os.link(draft, file)
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    return True
