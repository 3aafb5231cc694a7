"""How a client finds a cluster: an address given, the environment, or the cluster file.

The cluster file is written by whoever starts a cluster on this machine and says where its nodes
listen. It is private to the user, since whoever a client believes gets to run the client's
functions.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

from map_reduce.core.identifiers import Address
from map_reduce.core.messages.base import NOT_DECODABLE
from map_reduce.errors import ConfigError
from map_reduce.server.state import ADDRESS_VARIABLE, FILE_VARIABLE, cluster_file_path


class ClusterFile(msgspec.Struct, frozen=True):
    """Where a cluster is, and what its nodes want to be shown.

    Attributes:
        addresses: as HOST:PORT.
        pid: the process that started the cluster and waits for it; 0: no process of this machine.
        token_file: with the token; "" where the nodes want certificates.
        certs_folder: with a client's certificates; "" where the nodes want the token.
        source: what wrote the file, where it wants to know it again.
    """

    cluster_id: str
    addresses: tuple[str, ...]
    pid: int
    token_file: str = ""
    certs_folder: str = ""
    source: str = ""


class Found(msgspec.Struct, frozen=True):
    """Where to look for a cluster, and who said so."""

    addresses: tuple[Address, ...]
    source: str
    binding: bool  # whether it is an error if nobody answers there
    token_file: Path | None = None  # None: this user's
    certs_folder: Path | None = None


def write_cluster_file(content: ClusterFile, path: Path) -> None:
    """Write it in one step, readable by this user alone.

    Raises:
        ConfigError: it can't be written there.
    """
    make_cluster_folder(path)
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)  # mode 600
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n")
        os.replace(name, path)
    except OSError as error:
        raise _not_writable(path, error) from error


def make_cluster_folder(path: Path) -> None:
    """Make the folder that the cluster file at ``path`` is to be in. Raises ConfigError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise _not_writable(path, error) from error


def _not_writable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"cluster file {path} cannot be written ({error.strerror}); name another place by the "
        f"environment variable {FILE_VARIABLE}"
    )


def read_cluster_file(path: Path) -> ClusterFile | None:
    """What the file says; None where there is none.

    Raises:
        ConfigError: it is damaged, or others may write to it.
    """
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            data = file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigError(f"cluster file {path} cannot be read: {error.strerror}") from error
    if status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise ConfigError(
            f"cluster file {path} could have been written by another user, who would be sent "
            "your functions and data; delete it, or set its owner and mode 600"
        )
    return decode_cluster_file(data, path)


def decode_cluster_file(data: bytes, path: Path) -> ClusterFile:
    """What the bytes of a cluster file say. Raises ConfigError: nothing."""
    try:
        return msgspec.json.decode(data, type=ClusterFile)
    except NOT_DECODABLE as error:
        raise ConfigError(f"cluster file {path} is damaged ({error}); delete it") from error


def remove_cluster_file(path: Path, cluster_id: str) -> None:
    """Remove it, unless it tells of another cluster by now."""
    try:
        content = read_cluster_file(path)
    except ConfigError:
        return
    if content is not None and content.cluster_id == cluster_id:
        path.unlink(missing_ok=True)


def find_cluster(address: str | None, environ: Mapping[str, str] = os.environ) -> Found | None:
    """Where to look: ``address``, else the environment, else the cluster file, else nowhere.

    Raises:
        ConfigError: an address or the cluster file cannot be read.
    """
    if address is not None:
        return Found((Address.parse(address),), "the address given", True)
    if named := environ.get(ADDRESS_VARIABLE):
        addresses = tuple(Address.parse(part.strip()) for part in named.split(","))
        return Found(addresses, f"the environment variable {ADDRESS_VARIABLE}", True)
    path = cluster_file_path(environ)
    content = read_cluster_file(path)
    if content is None or not content.addresses:
        return None
    addresses = tuple(Address.parse(part) for part in content.addresses)
    token_file = Path(content.token_file) if content.token_file else None
    certs_folder = Path(content.certs_folder) if content.certs_folder else None
    return Found(addresses, f"the cluster file {path}", False, token_file, certs_folder)
