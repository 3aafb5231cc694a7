"""Keys and certificates: of an authority, and by an authority for a node or a client.

A certificate has one role, as a URI among its names, and its extended key usage fits: a node's is
for both ends of a TLS connection, a client's for the calling end alone. Keys are on the curve
P-256: every OpenSSL speaks it, and a handshake takes about a millisecond.
"""

from __future__ import annotations

import datetime
import ipaddress
import secrets
from collections.abc import Sequence
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from map_reduce.core.roles import Role
from map_reduce.errors import ConfigError
from map_reduce.transport.credentials import ROLE_URI

AUTHORITY_DAYS = 3650
BACKDATED = datetime.timedelta(hours=1)
"""A certificate is valid from a little before it was made, for machines whose clocks differ."""


class Pair(NamedTuple):
    """A certificate and its private key, in PEM form."""

    certificate: bytes
    key: bytes


def new_authority(days: int = AUTHORITY_DAYS) -> Pair:
    """An authority, which can sign nodes and clients but no further authorities."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _common_name(f"map-reduce authority {secrets.token_hex(4)}")
    builder = _builder(name, name, key.public_key(), days, now())
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_key_usage(signs_certificates=True), critical=True)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
    )
    return Pair(_pem(builder.sign(key, hashes.SHA256())), _key_pem(key))


def issue(
    authority: Pair,
    role: Role,
    name: str,
    hosts: Sequence[str],
    days: int,
    start: datetime.datetime | None = None,
) -> Pair:
    """A certificate for a node that listens at ``hosts`` (addresses or names), or for a client.

    ``start`` is when it becomes valid, now if not given.

    Raises:
        ConfigError: a host can't stand in a certificate.
    """
    issuer = x509.load_pem_x509_certificate(authority.certificate)
    signing_key = serialization.load_pem_private_key(authority.key, password=None)
    if not isinstance(signing_key, ec.EllipticCurvePrivateKey):
        raise ConfigError("the authority's key is not one that map-reduce certs init made")
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(
        _common_name(name), issuer.subject, key.public_key(), days, start or now() - BACKDATED
    )
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if role is Role.NODE:
        usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
    names = [x509.UniformResourceIdentifier(ROLE_URI + role.value), *map(_general_name, hosts)]
    issuer_key = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    for extension, critical in (
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_key_usage(signs_certificates=False), True),
        (x509.ExtendedKeyUsage(usages), False),
        (x509.SubjectAlternativeName(names), False),
        (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_key), False),
    ):
        builder = builder.add_extension(extension, critical)
    return Pair(_pem(builder.sign(signing_key, hashes.SHA256())), _key_pem(key))


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    days: int,
    start: datetime.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    if "*" in host or ":" in host or not host.isascii() or not host.strip(". "):
        raise ConfigError(
            f"--host {host!r} is neither an address nor the name of one host; write it as nodes "
            "will be called, without a port, as in 10.0.0.5 or node1.example.org"
        )
    return x509.DNSName(host)


def _key_usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
