"""What is in a folder of certificates, for people: whose, for which hosts, until when.

By what every Python has: it works on a node, where nothing can be made.
"""

from __future__ import annotations

import ssl
import time
from pathlib import Path
from typing import Any

from map_reduce.errors import ConfigError
from map_reduce.transport.credentials import (
    AUTHORITIES_NAME,
    CERTIFICATE_NAME,
    check_file,
    common_name,
    load,
)


def describe(folder: Path) -> str:
    """The authorities, and the certificates in the folder and those below it, a line each.

    Raises:
        ConfigError: there is nothing of the kind in it.
    """
    lines = _authorities(folder / AUTHORITIES_NAME)
    holders = sorted(path.parent for path in folder.glob(f"**/{CERTIFICATE_NAME}"))
    return "\n".join(lines + [_holder(holder) for holder in holders])


def _authorities(path: Path) -> list[str]:
    check_file(path, private=False)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cafile=path)
        certificates: list[dict[str, Any]] = context.get_ca_certs()
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError(f"{path} holds no certificate in PEM form ({error})") from error
    lines = []
    for certificate in certificates:
        name = common_name(certificate) or "an authority"
        lines.append(f"{name}: {_until(str(certificate.get('notAfter', '')))}")
    return lines


def _holder(folder: Path) -> str:
    try:
        loaded = load(folder)
    except ConfigError as error:
        return f"{folder}: {error}"
    hosts = ", ".join(sorted(loaded.own.hosts or ()))
    at = f" at {hosts}" if hosts else ""
    return f"{folder}: {loaded.own}{at}, {_until(loaded.expires)}"


def _until(text: str) -> str:
    days = (ssl.cert_time_to_seconds(text) - time.time()) / 86400
    return f"until {text} ({days:.0f} days)"
