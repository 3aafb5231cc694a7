"""Where certificates are kept.

    FOLDER/authorities.pem      the authority, first; and the one that it takes the place of
    FOLDER/authority-key.pem    its key: whoever has this can make nodes
    FOLDER/NAME/                what is copied to the machine of a node or a client:
        authorities.pem, certificate.pem, key.pem

Folders are closed to other users (mode 700) and key files too (600). What is there is never
overwritten, except where renewing it is what was asked for.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from map_reduce.core.roles import Role
from map_reduce.errors import ConfigError
from map_reduce.transport.credentials import (
    AUTHORITIES_NAME,
    CERTIFICATE_NAME,
    KEY_NAME,
    check_file,
    load,
)

try:
    from map_reduce.certs.authority import Pair, issue, new_authority
except ImportError as error:
    raise ConfigError(
        "making certificates needs the package cryptography; install it by "
        f"pip install 'map-reduce[certs]' ({error})"
    ) from error

AUTHORITY_KEY_NAME = "authority-key.pem"
END_OF_CERTIFICATE = b"-----END CERTIFICATE-----\n"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def make_authority(folder: Path) -> None:
    """Make the authority of a new cluster.

    Raises:
        ConfigError: there is one already, or the folder can't be written to.
    """
    if (folder / AUTHORITY_KEY_NAME).exists() or (folder / AUTHORITIES_NAME).exists():
        raise ConfigError(
            f"{folder} holds an authority already, which is not overwritten; name another "
            "--folder, or replace it step by step by map-reduce certs roll-over"
        )
    authority = new_authority()
    _make_folder(folder)
    _write(folder / AUTHORITY_KEY_NAME, authority.key)
    _write(folder / AUTHORITIES_NAME, authority.certificate)


def issue_to(
    folder: Path, name: str, role: Role, hosts: Sequence[str], days: int, *, renew: bool = False
) -> Path:
    """Make the folder of a node or a client; renewing makes it anew for the same hosts.

    Raises:
        ConfigError: there is no authority, or (not renewing) there is such a folder already, or
            (renewing) there is none; or a host or the name can't stand in a certificate.
    """
    if not NAME.fullmatch(name):
        raise ConfigError(f"{name!r} is no name; use letters, digits, '.', '_' and '-'")
    authority = _read_authority(folder)
    target = folder / name
    if renew:
        own = load(target).own
        role, hosts = own.role, hosts or sorted(own.hosts or ())
    elif target.exists():
        raise ConfigError(f"{target} is there already; pass --renew to make its contents anew")
    if role is Role.NODE and not hosts:
        raise ConfigError("a node's certificate needs its addresses; pass --host, once for each")
    made = issue(authority, role, name, hosts, days)
    _make_folder(target)
    _write(target / AUTHORITIES_NAME, (folder / AUTHORITIES_NAME).read_bytes())
    # A node that looks between the two finds a key of another certificate, and goes on with the
    # old pair until it looks again.
    _write(target / KEY_NAME, made.key)
    _write(target / CERTIFICATE_NAME, made.certificate)
    return target


def roll_over(folder: Path) -> list[Path]:
    """Begin to replace the authority: a new one signs from now on, and both are trusted.

    Returns the folders whose list of authorities was changed too.

    Raises:
        ConfigError: there is none, or it is being replaced already.
    """
    old = _authorities(folder)
    if len(old) > 1:
        raise ConfigError(
            f"{folder / AUTHORITIES_NAME} holds {len(old)} authorities: a roll-over has begun; "
            "end it by map-reduce certs roll-over --finish"
        )
    _read_authority(folder)
    authority = new_authority()
    trusted = authority.certificate + old[0]
    _write(folder / AUTHORITIES_NAME, trusted)
    _write(folder / AUTHORITY_KEY_NAME, authority.key)
    return _tell(folder, trusted)


def finish_roll_over(folder: Path) -> list[Path]:
    """Trust the new authority alone; returns and raises as :func:`roll_over`."""
    trusted = _authorities(folder)[0]
    _write(folder / AUTHORITIES_NAME, trusted)
    return _tell(folder, trusted)


def members(folder: Path) -> list[Path]:
    """The folders of nodes and clients."""
    return sorted(path.parent for path in folder.glob(f"*/{CERTIFICATE_NAME}"))


def _tell(folder: Path, trusted: bytes) -> list[Path]:
    told = members(folder)
    for member in told:
        _write(member / AUTHORITIES_NAME, trusted)
    return told


def _authorities(folder: Path) -> list[bytes]:
    """The certificates of authorities, each with its last line."""
    path = folder / AUTHORITIES_NAME
    if not path.exists():
        raise ConfigError(f"{folder} holds no authority; make one by map-reduce certs init")
    check_file(path, private=False)
    parts = path.read_bytes().split(END_OF_CERTIFICATE)
    return [part + END_OF_CERTIFICATE for part in parts if part.strip()]


def _read_authority(folder: Path) -> Pair:
    certificate = _authorities(folder)[0]
    check_file(folder / AUTHORITY_KEY_NAME, private=True)
    return Pair(certificate, (folder / AUTHORITY_KEY_NAME).read_bytes())


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be made: {error.strerror}") from error


def _write(path: Path, data: bytes) -> None:
    """In one step, and closed to other users."""
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".making-")  # mode 600
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.replace(name, path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from error
