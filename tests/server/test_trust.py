"""The token of a user: made once, read by that user alone."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from certificate_folders import make_folder

from map_reduce.errors import ConfigError
from map_reduce.server.trust import credentials, token_path, user_token
from map_reduce.transport.credentials import Certificates, Token


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "token"


def test_it_is_made_once_and_is_private(path: Path) -> None:
    first = user_token(path)
    assert user_token(path).secret == first.secret
    assert len(first.secret) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == ["token"]


def test_many_that_make_it_at_once_agree(path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        secrets = {token.secret for token in threads.map(lambda _: user_token(path), range(32))}
    assert len(secrets) == 1


def test_one_that_others_may_have_read_is_not_used(path: Path) -> None:
    user_token(path)
    for mode in (0o640, 0o604, 0o620):
        path.chmod(mode)
        with pytest.raises(ConfigError, match=r"open to other users.*delete it"):
            user_token(path)


def test_no_file_of_anybody_else_is_followed(path: Path) -> None:
    user_token(path)
    link = path.with_name("link")
    link.symlink_to(path)
    with pytest.raises(ConfigError, match="link cannot be read"):
        user_token(link)
    folder = path.with_name("folder")
    folder.mkdir()
    pipe = path.with_name("pipe")
    os.mkfifo(pipe)
    for odd in (folder, pipe):
        with pytest.raises(ConfigError, match="not a file of this user"):
            user_token(odd)


@pytest.mark.skipif(os.getuid() != 0, reason="needs to give a file away")
def test_one_of_another_user_is_not_used(path: Path) -> None:
    user_token(path)
    os.chown(path, 65534, 65534)
    with pytest.raises(ConfigError, match="not a file of this user"):
        user_token(path)


@pytest.mark.parametrize("text", ["", "00", "x" * 64, "0" * 66, "é" * 32])
def test_a_damaged_one_says_so(path: Path, text: str) -> None:
    path.parent.mkdir()
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="damaged"):
        user_token(path)


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be"):
        user_token(tmp_path / "file" / "token")


def test_where_it_is(tmp_path: Path) -> None:
    assert token_path({"MAP_REDUCE_TOKEN_FILE": "/x/y"}) == Path("/x/y")
    assert token_path({"XDG_STATE_HOME": "/x"}) == Path("/x/map-reduce/token")
    home = Path.home() / ".local" / "state" / "map-reduce" / "token"
    assert token_path({}) == home


def test_certificates_go_before_the_token(tmp_path: Path, path: Path) -> None:
    environ = {"MAP_REDUCE_TOKEN_FILE": str(path)}
    assert isinstance(credentials(None, None, environ), Token)
    folder = make_folder(tmp_path / "n1")
    named = credentials(folder, None, environ)
    assert isinstance(named, Certificates)
    environ["MR_CERTS_FOLDER"] = str(folder)
    assert isinstance(credentials(None, path, environ), Certificates)
