"""Certificates: which are accepted by whom, what is said about the others, and renewal."""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from certificate_folders import AUTHORITY, FOREIGN_AUTHORITY, LOOPBACK, make_folder, write_folder
from pyro_by_hand import PATIENCE_S, PIECE_REQUEST, PING_REQUEST, Impostor, Transports

from map_reduce.certs.authority import issue, new_authority
from map_reduce.core.identifiers import Address, Member
from map_reduce.core.messages import Done, Message, No, Notify, Request
from map_reduce.core.roles import CLIENTS_ASK, Role
from map_reduce.errors import ConfigError, NotTrusted, Unreachable
from map_reduce.transport.credentials import AUTHORITIES_NAME, KEY_NAME, Certificates, Token
from map_reduce.transport.pyro import PyroTransport

ANYWHERE = Address("127.0.0.1", 0)
Serve = Callable[..., Address]


@pytest.fixture
def serve(transport: Transports) -> Serve:
    """Makes a node with a folder's certificates that answers Done; its address."""

    def make(folder: Path, **settings: object) -> Address:
        server = transport(Certificates(folder), **settings)
        address: Address = server.listen(ANYWHERE)
        server.serve(lambda request: Done())
        return address

    return make


@pytest.fixture
def client(transport: Transports, tmp_path: Path) -> PyroTransport:
    return transport(Certificates(make_folder(tmp_path / "bob", Role.CLIENT)))


# ------------------------------------------------------------------ what is refused when it is read


def unusable(folder: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        Certificates(folder)
    return str(caught.value)


def test_what_is_right_is_read(tmp_path: Path) -> None:
    loaded = Certificates(make_folder(tmp_path / "n1", hosts=["10.0.0.5", "Node1", "::1"])).loaded
    assert loaded.own.role is Role.NODE
    assert loaded.own.name == "n1"
    assert loaded.own.hosts == {"10.0.0.5", "node1", "::1"}
    for context in (loaded.server, loaded.client):
        assert context.minimum_version is ssl.TLSVersion.TLSv1_3
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert [*map(len, (context.get_ca_certs(), context.get_ca_certs()))] == [1, 1]  # no others
    assert loaded.client.check_hostname


def test_expired(tmp_path: Path) -> None:
    text = unusable(make_folder(tmp_path / "n1", days=1, days_ago=2))
    assert "has expired" in text
    assert str(tmp_path / "n1") in text


def test_not_valid_yet(tmp_path: Path) -> None:
    assert "not valid yet" in unusable(make_folder(tmp_path / "n1", days_ago=-1))


def test_of_another_authority(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "n1", trusted=FOREIGN_AUTHORITY.certificate)
    assert "not in authorities.pem" in unusable(folder)


def test_a_key_of_another_certificate(tmp_path: Path) -> None:
    folder, other = make_folder(tmp_path / "n1"), make_folder(tmp_path / "n2")
    (folder / KEY_NAME).write_bytes((other / KEY_NAME).read_bytes())
    assert "is not the key of" in unusable(folder)


def test_swapped_files(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "n1")
    certificate, key = folder / "certificate.pem", folder / KEY_NAME
    certificate.rename(folder / "x")
    key.rename(certificate)
    (folder / "x").rename(key)
    assert "swap them back" in unusable(folder)


@pytest.mark.parametrize("name", ["authorities.pem", "certificate.pem", "key.pem"])
@pytest.mark.parametrize("content", [b"", b"\xff" * 100, b"-----BEGIN CERTIFICATE-----\nAA=="])
def test_damaged_files(tmp_path: Path, name: str, content: bytes) -> None:
    folder = make_folder(tmp_path / "n1")
    (folder / name).write_bytes(content)
    assert name in unusable(folder)
    (folder / name).unlink()
    assert name in unusable(folder)


def test_a_key_that_others_may_read(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "n1")
    for mode in (0o644, 0o640, 0o604):
        (folder / KEY_NAME).chmod(mode)
        assert f"chmod 600 {folder / KEY_NAME}" in unusable(folder)


@pytest.mark.skipif(os.getuid() != 0, reason="needs to give a file away")
def test_a_key_of_another_user(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "n1")
    os.chown(folder / KEY_NAME, 65534, 65534)
    assert "belongs to another user" in unusable(folder)


def test_without_a_role(tmp_path: Path) -> None:
    class NoRole:
        value = "king"

    own = issue(AUTHORITY, NoRole(), "x", LOOPBACK, 1)  # type: ignore[arg-type]
    assert "no role" in unusable(write_folder(tmp_path / "x", AUTHORITY.certificate, own))


def test_soon_out_of_date(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Certificates(make_folder(tmp_path / "n1", days=3, days_ago=0))
    assert "expires in 3 days" in caplog.text


# ------------------------------------------------------------------ where a node may listen


def test_only_hosts_in_the_certificate_are_listened_on(
    transport: Transports, tmp_path: Path
) -> None:
    server = transport(Certificates(make_folder(tmp_path / "n1", hosts=["127.0.0.2"])))
    with pytest.raises(ConfigError, match=r"is for 127\.0\.0\.2.*--host 127\.0\.0\.1"):
        server.listen(ANYWHERE)
    for host in ("0.0.0.0", "::"):
        with pytest.raises(ConfigError, match="name the one address"):
            server.listen(Address(host, 0))
    assert server.listen(Address("127.0.0.2", 0)).port


def test_a_client_listens_nowhere(client: PyroTransport) -> None:
    with pytest.raises(ConfigError, match="is for client bob"):
        client.listen(ANYWHERE)


def test_names_are_listened_on_and_called(
    transport: Transports, tmp_path: Path, client: PyroTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    from map_reduce.transport import resolver

    def look_up(host: str) -> tuple[str, ...]:
        return {"node1.test": ("127.0.0.1",)}[host]

    monkeypatch.setattr(resolver.Resolver.__init__, "__defaults__", (look_up,))
    caller = transport(Certificates(tmp_path / "bob"))
    server = transport(Certificates(make_folder(tmp_path / "n1", hosts=["node1.test"])))
    address = server.listen(Address("node1.test", 0))
    server.serve(lambda request: Done())
    assert address.host == "node1.test"
    for request in (PING_REQUEST, PIECE_REQUEST):
        assert caller.call(address, request, PATIENCE_S) == Done()
    with pytest.raises(NotTrusted, match="for another address"):
        client.call(Address("127.0.0.1", address.port), PING_REQUEST, PATIENCE_S)


# ------------------------------------------------------------------ who is let in, and believed


def test_a_client_and_a_node_are_let_in_on_both_planes(
    serve: Serve, client: PyroTransport, transport: Transports, tmp_path: Path
) -> None:
    address = serve(make_folder(tmp_path / "n1"))
    node = transport(Certificates(make_folder(tmp_path / "n2")))
    for caller in (client, node):
        for request in (PING_REQUEST, PIECE_REQUEST):
            assert caller.call(address, request, PATIENCE_S) == Done()


def test_only_a_node_is_a_member(
    serve: Serve, client: PyroTransport, transport: Transports, tmp_path: Path
) -> None:
    address = serve(make_folder(tmp_path / "n1"))
    node = transport(Certificates(make_folder(tmp_path / "n2")))
    me = Member(Address("127.0.0.1", 9), 1)
    notify = Notify(me)
    assert Notify not in CLIENTS_ASK
    refused = client.call(address, Request("", None, notify), PATIENCE_S)
    assert isinstance(refused, No)
    assert "client bob" in refused.reason
    assert node.call(address, Request("", me, notify), PATIENCE_S) == Done()
    elsewhere = Request("", Member(Address("192.0.2.1", 9), 1), notify)
    assert "not for 192.0.2.1" in str(node.call(address, elsewhere, PATIENCE_S))


def swapped(certificates: Certificates, folder: Path) -> Certificates:
    """The same object with another folder's contents, as a liar would have it."""
    contexts = [ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)]
    for context in contexts:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.load_cert_chain(folder / "certificate.pem", folder / KEY_NAME)
    server, client = contexts
    client.load_verify_locations(cadata=AUTHORITY.certificate.decode())
    client.verify_mode = ssl.CERT_REQUIRED
    certificates._loaded = certificates._loaded._replace(client=client, server=server)
    return certificates


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"authority": FOREIGN_AUTHORITY}, "does not have our authority"),
        ({"days": 1, "days_ago": 2}, "out of date"),
        ({"days_ago": -1}, "does not accept our certificate"),
    ],
    ids=["foreign", "expired", "too early"],
)
def test_callers_whom_a_node_does_not_let_in(
    serve: Serve, transport: Transports, tmp_path: Path, wrong: dict[str, object], says: str
) -> None:
    address = serve(make_folder(tmp_path / "n1"))
    folder = make_folder(tmp_path / "eve", **wrong)  # type: ignore[arg-type]
    honest = Certificates(make_folder(tmp_path / "bob", Role.CLIENT))
    liar = transport(swapped(honest, folder))
    with pytest.raises(Unreachable, match=f"{says}|closed|reset"):
        liar.call(address, PING_REQUEST, PATIENCE_S)


def test_a_caller_without_a_certificate(
    serve: Serve, transport: Transports, tmp_path: Path
) -> None:
    address = serve(make_folder(tmp_path / "n1"))
    certificates = Certificates(make_folder(tmp_path / "bob", Role.CLIENT))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(tmp_path / "bob" / AUTHORITIES_NAME)
    certificates._loaded = certificates._loaded._replace(client=context)
    with pytest.raises(Unreachable, match=r"wants a certificate|closed|reset"):
        transport(certificates).call(address, PING_REQUEST, PATIENCE_S)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"authority": FOREIGN_AUTHORITY}, "authority that is not in"),
        ({"days": 1, "days_ago": 2}, "has expired"),
        ({"days_ago": -1}, "not valid yet"),
        ({"hosts": ["127.0.0.2"]}, "for another address"),
        ({"hosts": ["localhost"]}, "for another address"),
        ({"role": Role.CLIENT}, "not one for this use"),
    ],
    ids=["foreign", "expired", "too early", "elsewhere", "a name of it", "a client's"],
)
def test_nodes_that_a_caller_does_not_believe(
    transport: Transports,
    client: PyroTransport,
    tmp_path: Path,
    wrong: dict[str, object],
    says: str,
) -> None:
    honest = Certificates(make_folder(tmp_path / "n1"))
    server = transport(honest)
    address = server.listen(ANYWHERE)
    asked: list[Message] = []
    server.serve(lambda request: asked.append(request.body) or Done())  # type: ignore[func-returns-value]
    folder = make_folder(tmp_path / "eve", **wrong)  # type: ignore[arg-type]
    swapped(honest, folder)
    for request in (PING_REQUEST, PIECE_REQUEST):
        with pytest.raises(NotTrusted, match=f"{address}.*{says}"):
            client.call(address, request, PATIENCE_S)
    assert asked == []


def test_tokens_and_certificates_do_not_mix(
    serve: Serve, client: PyroTransport, transport: Transports, tmp_path: Path
) -> None:
    with_certificates = serve(make_folder(tmp_path / "n1"))
    by_token = transport(Token(bytes(32)))
    with_token = by_token.listen(ANYWHERE)
    by_token.serve(lambda request: Done())
    with pytest.raises(NotTrusted, match="does not speak TLS"):
        client.call(with_token, PING_REQUEST, PATIENCE_S)
    with pytest.raises(Unreachable, match="MR_CERTS_FOLDER"):
        transport(Token(bytes(32))).call(with_certificates, PING_REQUEST, PATIENCE_S)


def test_a_server_of_an_older_tls_is_refused(
    client: PyroTransport, impostor: Impostor, tmp_path: Path
) -> None:
    folder = make_folder(tmp_path / "n1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(folder / "certificate.pem", folder / KEY_NAME)
    address = impostor(lambda sock: context.wrap_socket(sock, server_side=True) and None)
    with pytest.raises(NotTrusted):
        client.call(address, PING_REQUEST, PATIENCE_S)


# ------------------------------------------------------------------ renewal


def test_renewed_certificates_are_used_for_new_connections(
    serve: Serve, transport: Transports, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    node, bob = tmp_path / "n1", tmp_path / "bob"
    certificates = Certificates(make_folder(bob, Role.CLIENT))
    first = transport(certificates)
    address = serve(make_folder(node))
    assert first.call(address, PING_REQUEST, PATIENCE_S) == Done()
    kept = first._pool.take(address)
    assert kept is not None
    first._pool.give(kept)
    with caplog.at_level(logging.INFO, "map_reduce.transport"):
        make_folder(node, authority=FOREIGN_AUTHORITY)
        with pytest.raises(NotTrusted):
            transport(certificates).call(address, PING_REQUEST, PATIENCE_S)
        assert first.call(address, PING_REQUEST, PATIENCE_S) == Done()  # over the kept one
        make_folder(bob, Role.CLIENT, authority=FOREIGN_AUTHORITY)
        assert transport(certificates).call(address, PING_REQUEST, PATIENCE_S) == Done()
    assert caplog.text.count("new certificates are in use") >= 2


def test_files_in_the_middle_of_a_change_do_no_harm(
    serve: Serve, client: PyroTransport, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    node = tmp_path / "n1"
    address = serve(make_folder(node))
    key = (node / KEY_NAME).read_bytes()
    (node / KEY_NAME).write_bytes(make_folder(tmp_path / "n2").joinpath(KEY_NAME).read_bytes())
    assert client.call(address, PING_REQUEST, PATIENCE_S) == Done()
    assert "the old ones stay in use" in caplog.text
    (node / KEY_NAME).write_bytes(key)
    assert client.call(address, PIECE_REQUEST, PATIENCE_S) == Done()


def test_an_authority_is_rolled_over_without_an_interruption(
    serve: Serve, transport: Transports, tmp_path: Path
) -> None:
    """Every step leaves each of two nodes and a client able to reach both nodes."""
    new = new_authority()
    both, new_alone = new.certificate + AUTHORITY.certificate, new.certificate
    folders = {
        name: make_folder(tmp_path / name, role)
        for name, role in (("n1", Role.NODE), ("n2", Role.NODE), ("bob", Role.CLIENT))
    }
    addresses = [serve(folders["n1"]), serve(folders["n2"])]

    def all_reach_all() -> None:
        for folder in folders.values():
            caller = transport(Certificates(folder))
            for address in addresses:
                assert caller.call(address, PING_REQUEST, PATIENCE_S) == Done()

    all_reach_all()
    for folder in folders.values():
        (folder / AUTHORITIES_NAME).write_bytes(both)
        all_reach_all()
    for folder in folders.values():
        role = Role.CLIENT if folder.name == "bob" else Role.NODE
        make_folder(folder, role, authority=new, trusted=both)
        all_reach_all()
    for folder in folders.values():
        (folder / AUTHORITIES_NAME).write_bytes(new_alone)
        all_reach_all()
    old = transport(Certificates(make_folder(tmp_path / "old", Role.CLIENT, trusted=both)))
    with pytest.raises(Unreachable):
        old.call(addresses[0], PING_REQUEST, PATIENCE_S)
