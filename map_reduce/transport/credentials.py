"""What a process proves itself by: a token that one user's processes share, or certificates.

**A token** is 256 random bits that only one user of a machine can read. It is never sent; both
ends show by a keyed hash that they have it (pyro_token.py). It is for loopback alone.

**Certificates** are a folder of three files, in PEM form:

    authorities.pem    whom to trust: the authority of the cluster; two, while one replaces another
    certificate.pem    one's own, with its role and, for a node, the hosts it may listen at
    key.pem            the private key of that, which nobody else may read

They are read again when they change, so that they can be renewed while the node runs: what is
connected stays connected, and new connections are made with the new ones. Files that cannot be
used then are named in the log, and those read before stay in use.

What is read is tried out before it is used, by a handshake with oneself in memory: so an expired
or foreign certificate is an error at the start of a node rather than at its first neighbour.

The role is a URI among the certificate's names, ``urn:map-reduce:role:node``. That a client's
certificate serves no TLS server is in its extended key usage, besides.
"""

from __future__ import annotations

import logging
import os
import ssl
import stat
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from map_reduce.core.identifiers import Address
from map_reduce.core.roles import Caller, Role, plain_host
from map_reduce.errors import ConfigError

log = logging.getLogger("map_reduce.transport")

AUTHORITIES_NAME = "authorities.pem"
CERTIFICATE_NAME = "certificate.pem"
KEY_NAME = "key.pem"
ROLE_URI = "urn:map-reduce:role:"

TOKEN_BYTES = 32
FILE_BYTES_MAX = 1 << 20
WARN_DAYS = 14

EVERY_ADDRESS = ("0.0.0.0", "::")

HOW_TO_GET_CERTIFICATES = (
    "map-reduce certs init, then map-reduce certs issue NAME --host {host}; "
    "then name the folder that they print by MR_CERTS_FOLDER"
)


class Token:
    """The secret that the processes of one user share. Does not show in logs and tracebacks."""

    __slots__ = ("secret",)

    def __init__(self, secret: bytes) -> None:
        if len(secret) != TOKEN_BYTES:
            raise ConfigError(f"a token has {TOKEN_BYTES} bytes, this one has {len(secret)}")
        self.secret = secret

    def __repr__(self) -> str:
        return "Token(…)"

    def check_listening(self, address: Address) -> None:
        """Raises ConfigError: a node that has only a token may not listen there."""
        if not address.is_loopback:
            raise ConfigError(
                f"cannot listen on {address}: without certificates a node listens on loopback "
                "only, since it runs what it is sent. To make them: "
                + HOW_TO_GET_CERTIFICATES.format(
                    host="ADDRESS, the one that the others reach it by"
                    if address.host in EVERY_ADDRESS
                    else address.host
                )
            )


class Loaded(NamedTuple):
    """Certificates in use."""

    own: Caller
    expires: str
    expires_at_s: float  # since 1970
    server: ssl.SSLContext
    client: ssl.SSLContext


class Certificates:
    """The folder described above. Safe to use from many threads.

    Raises:
        ConfigError: the files can't be used; says which, and why.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._stamp = _stamp_of(folder)
        self._loaded = load(folder)

    def __repr__(self) -> str:
        return f"Certificates({str(self.folder)!r})"

    @property
    def loaded(self) -> Loaded:
        """What is in the folder now, or was when it could last be used."""
        stamp = _stamp_of(self.folder)
        with self._lock:
            if stamp != self._stamp:
                self._stamp = stamp
                try:
                    self._loaded = load(self.folder)
                except ConfigError as error:
                    log.error("the certificates changed, and the old ones stay in use: %s", error)
                else:
                    log.info("new certificates are in use, until %s", self._loaded.expires)
            return self._loaded

    def check_listening(self, address: Address) -> None:
        """Raises ConfigError: the certificate does not allow a node to listen there."""
        own = self.loaded.own
        if own.role is not Role.NODE:
            raise ConfigError(
                f"{self.folder / CERTIFICATE_NAME} is for {own}; to run a node, make one by "
                f"map-reduce certs issue NAME --host {address.host}"
            )
        if address.host in EVERY_ADDRESS:
            raise ConfigError(
                f"cannot listen on {address}: a node is known to the others by the address that "
                "it listens on, so name the one address, or host name, that they reach it by"
            )
        if not own.may_be_at(address.host):
            raise ConfigError(
                f"cannot listen on {address}: {self.folder / CERTIFICATE_NAME} is for "
                f"{', '.join(sorted(own.hosts or ()))}; make one by map-reduce certs issue "
                f"{own.name} --host {address.host}"
            )


Credentials = Token | Certificates


def _stamp_of(folder: Path) -> tuple[tuple[int, int, int] | None, ...]:
    """What is different once one of the files is."""
    stamps: list[tuple[int, int, int] | None] = []
    for name in (AUTHORITIES_NAME, CERTIFICATE_NAME, KEY_NAME):
        try:
            status = os.stat(folder / name)
        except OSError:  # in the middle of being replaced, or gone: which load() tells
            stamps.append(None)
        else:
            stamps.append((status.st_mtime_ns, status.st_size, status.st_ino))
    return tuple(stamps)


def load(folder: Path) -> Loaded:
    """Read and try out what is in the folder. Raises ConfigError."""
    authorities, certificate, key = (
        folder / name for name in (AUTHORITIES_NAME, CERTIFICATE_NAME, KEY_NAME)
    )
    for path in (authorities, certificate, key):
        check_file(path, private=path is key)
    server = _context(ssl.PROTOCOL_TLS_SERVER, authorities, certificate, key)
    client = _context(ssl.PROTOCOL_TLS_CLIENT, authorities, certificate, key)
    client.hostname_checks_common_name = False
    server.num_tickets = 0  # each connection proves itself anew; and nothing comes out of turn
    own = _own_certificate(server, certificate, key)
    caller = caller_of(own)
    if caller is None:
        raise ConfigError(
            f"{certificate} names no role in a cluster; make one by map-reduce certs issue"
        )
    expires = str(own.get("notAfter", ""))
    expires_at_s = float(ssl.cert_time_to_seconds(expires))
    days_left = (expires_at_s - time.time()) / 86400
    if days_left < WARN_DAYS:
        log.warning("%s expires in %.0f days (%s)", certificate, days_left, expires)
    return Loaded(caller, expires, expires_at_s, server, client)


def caller_of(certificate: dict[str, Any] | None) -> Caller | None:
    """Who is named in a certificate, as ``getpeercert`` returns it; None where there is no role."""
    names = (certificate or {}).get("subjectAltName", ())
    roles = [value[len(ROLE_URI) :] for kind, value in names if value.startswith(ROLE_URI)]
    if len(roles) != 1 or roles[0] not in [role.value for role in Role]:
        return None
    hosts = frozenset(
        plain_host(str(value).strip()) for kind, value in names if kind in ("DNS", "IP Address")
    )
    name = common_name(certificate or {}) or "without a name"
    return Caller(Role(roles[0]), name, hosts)


def common_name(certificate: dict[str, Any]) -> str:
    """The holder's name in a certificate as ``getpeercert`` returns it, "" where there is none."""
    subject = dict(pair for part in certificate.get("subject", ()) for pair in part)
    return str(subject.get("commonName", ""))


def check_file(path: Path, *, private: bool) -> None:
    """Raises ConfigError: it can't be read, or is private and others can read it.

    A private file is one's own and closed to all others, or root's and at most open to one's
    group, as containers and services mount them.
    """
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
    except FileNotFoundError:
        raise ConfigError(
            f"there is no {path}; a certificates' folder holds {AUTHORITIES_NAME}, "
            f"{CERTIFICATE_NAME} and {KEY_NAME}, as map-reduce certs issue makes it"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    if status.st_size > FILE_BYTES_MAX or not stat.S_ISREG(status.st_mode):
        raise ConfigError(f"{path} is no file of certificates or keys")
    if not private:
        return
    if status.st_uid not in (os.getuid(), 0):
        raise ConfigError(f"{path} belongs to another user, who could replace it; copy it")
    if status.st_mode & (0o027 if status.st_uid == 0 and os.getuid() != 0 else 0o077):
        raise ConfigError(
            f"{path} is open to other users (mode {stat.S_IMODE(status.st_mode):o}); "
            f"close it by chmod 600 {path}, and if others may have read it, issue a new one"
        )


def _context(protocol: int, authorities: Path, certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.3, both ends with a certificate of these authorities and of no others."""
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    try:
        context.load_verify_locations(cafile=authorities)
    except (ssl.SSLError, OSError) as error:
        raise ConfigError(f"{authorities} holds no certificate in PEM form ({error})") from error
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(
                f"{key} is not the key of {certificate}; they were made for different nodes"
            ) from error
        raise ConfigError(
            f"{certificate} and {key} are not a certificate and a key in PEM form, without "
            f"password; if the two are swapped, swap them back ({error.reason or error})"
        ) from error
    except OSError as error:
        raise ConfigError(f"{certificate} or {key} cannot be read: {error}") from error
    return context


def _no_password() -> str:
    """Asked for by OpenSSL where a key is encrypted; without this it would ask a terminal."""
    return ""


def _own_certificate(server: ssl.SSLContext, certificate: Path, key: Path) -> dict[str, Any]:
    """One's own certificate, read and judged by one's own authorities.

    Raises:
        ConfigError: they reject it.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE  # the other direction is the one that is looked at
    client.load_cert_chain(certificate, key, password=_no_password)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    answering = server.wrap_bio(to_server, to_client, server_side=True)
    calling = client.wrap_bio(to_client, to_server)
    for end in (calling, answering, calling, answering):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLCertVerificationError as error:
            raise ConfigError(f"{certificate} cannot be used: {why_rejected(error)}") from error
        except ssl.SSLError as error:
            raise ConfigError(f"{certificate} cannot be used: {error.reason}") from error
    try:
        return answering.getpeercert() or {}
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError(f"{certificate} has names that cannot be read ({error})") from error


_CLOCK = "(or this machine's clock is wrong)"
_RENEW = "issue a new one by map-reduce certs issue"
_REASONS = {
    9: f"the certificate is not valid yet {_CLOCK}",
    10: f"the certificate has expired {_CLOCK}; {_RENEW}",
    18: "the certificate is of no authority at all",
    19: f"the certificate is of an authority that is not in {AUTHORITIES_NAME}",
    20: f"the certificate is of an authority that is not in {AUTHORITIES_NAME}",
    21: f"the certificate is of an authority that is not in {AUTHORITIES_NAME}",
    26: "the certificate is not one for this use, as a client's is not for a node",
    62: f"the certificate is for another host; {_RENEW} with --host",
    64: f"the certificate is for another address; {_RENEW} with --host",
}


def why_rejected(error: ssl.SSLCertVerificationError) -> str:
    """Why a certificate was not accepted here, for people."""
    return _REASONS.get(error.verify_code, f"the certificate is not valid: {error.verify_message}")


_ALERTS = {
    "ALERT_CERTIFICATE_REQUIRED": "it wants a certificate and got none",
    "ALERT_UNKNOWN_CA": f"it does not have our authority in its {AUTHORITIES_NAME}",
    "ALERT_CERTIFICATE_EXPIRED": "it says that our certificate is out of date",
    "ALERT_BAD_CERTIFICATE": "it does not accept our certificate",
    "ALERT_UNSUPPORTED_CERTIFICATE": "it does not accept our certificate for this use",
    "ALERT_PROTOCOL_VERSION": "it does not speak TLS 1.3",
}


def why_failed(error: OSError) -> str:
    """Why a handshake failed, or what the other end said instead of a reply, for people."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return why_rejected(error)
    reason = getattr(error, "reason", None) or ""
    for alert, meaning in _ALERTS.items():
        if reason.endswith(alert):
            return meaning
    if reason in ("WRONG_VERSION_NUMBER", "UNEXPECTED_EOF_WHILE_READING", "HTTP_REQUEST"):
        return "it does not speak TLS: it runs without certificates, or is another program"
    return reason or str(error)
