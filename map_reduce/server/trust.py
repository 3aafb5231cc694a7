"""What a node or a client of this process proves itself by: certificates, or its user's token.

The token is made when it is first needed, in a file that only its owner can read. Every node and
client of this user on this machine finds it there without being told, and nobody else can read
it: so a ring on loopback needs no set-up, and is closed to the machine's other users.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from map_reduce.errors import ConfigError
from map_reduce.server.state import state_folder
from map_reduce.transport.credentials import TOKEN_BYTES, Certificates, Credentials, Token

TOKEN_VARIABLE = "MAP_REDUCE_TOKEN_FILE"
CERTS_VARIABLE = "MR_CERTS_FOLDER"


def token_path(environ: Mapping[str, str] = os.environ) -> Path:
    """``MAP_REDUCE_TOKEN_FILE``, else ``token`` in the state folder."""
    named = environ.get(TOKEN_VARIABLE)
    return Path(named) if named else state_folder(environ) / "token"


def credentials(
    certs_folder: str | Path | None = None,
    token_file: Path | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Credentials:
    """The certificates in the folder, or in the one that ``MR_CERTS_FOLDER`` names; where there
    is neither, the token in the file, or in the one that is this user's.

    Raises:
        ConfigError: what is there can't be used.
    """
    if folder := certs_folder or environ.get(CERTS_VARIABLE):
        return Certificates(Path(folder))
    return user_token(token_file or token_path(environ))


def user_token(path: Path) -> Token:
    """The token in the file, which is made where there is none.

    Raises:
        ConfigError: it can't be read or made, or others may know it.
    """
    token = _read(path)
    if token is None:
        _make(path)
        token = _read(path)
    if token is None:
        raise ConfigError(f"the token file {path} is removed while it is being made")
    return token


def _read(path: Path) -> Token | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"the token file {path} cannot be read: {error.strerror}") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.getuid():
            raise ConfigError(
                f"the token file {path} is not a file of this user; name another one by the "
                f"environment variable {TOKEN_VARIABLE}"
            )
        if status.st_mode & 0o077:
            raise ConfigError(
                f"the token file {path} is open to other users (mode "
                f"{stat.S_IMODE(status.st_mode):o}), who may have read it: delete it, and start "
                "the nodes anew"
            )
        text = os.read(descriptor, 2 * TOKEN_BYTES + 2)
    finally:
        os.close(descriptor)
    try:
        return Token(bytes.fromhex(text.decode("ascii").strip()))
    except (ValueError, ConfigError):
        raise ConfigError(
            f"the token file {path} is damaged; delete it, and start the nodes anew"
        ) from None


def _make(path: Path) -> None:
    """In one step, so that of two processes that make it at the same time both use one."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".token-")  # mode 600
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_hex(TOKEN_BYTES) + "\n")
            with contextlib.suppress(FileExistsError):  # another process was faster
                os.link(name, path)
        finally:
            os.unlink(name)
    except OSError as error:
        raise ConfigError(
            f"the token file {path} cannot be made ({error.strerror}); name another place by the "
            f"environment variable {TOKEN_VARIABLE}"
        ) from error
