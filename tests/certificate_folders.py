"""Folders of certificates for tests, right ones and wrong ones."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from map_reduce.certs.authority import Pair, issue, new_authority, now
from map_reduce.core.roles import Role
from map_reduce.transport.credentials import AUTHORITIES_NAME, CERTIFICATE_NAME, KEY_NAME

LOOPBACK = ("127.0.0.1", "::1", "localhost")
AUTHORITY = new_authority()
FOREIGN_AUTHORITY = new_authority()


def write_folder(folder: Path, authorities: bytes, own: Pair) -> Path:
    """A folder of the three files, made or replaced."""
    folder.mkdir(exist_ok=True)
    for name, data in (
        (AUTHORITIES_NAME, authorities),
        (KEY_NAME, own.key),
        (CERTIFICATE_NAME, own.certificate),
    ):
        path = folder / name
        path.write_bytes(data)
        path.chmod(0o600)
    return folder


def make_folder(
    folder: Path,
    role: Role = Role.NODE,
    hosts: Sequence[str] = LOOPBACK,
    *,
    authority: Pair = AUTHORITY,
    trusted: bytes | None = None,
    days: int = 30,
    days_ago: float = 1,
) -> Path:
    """The certificates of a node or a client, valid from ``days_ago`` for ``days``."""
    if role is Role.CLIENT:
        hosts = ()
    own = issue(authority, role, folder.name, hosts, days, now() - timedelta(days=days_ago))
    return write_folder(folder, trusted or authority.certificate, own)
