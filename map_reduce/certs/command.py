"""``map-reduce certs``: the flags, and what each does."""

from __future__ import annotations

import argparse
import ipaddress
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from map_reduce.errors import ConfigError

NODE_DAYS = 365

NETWORK_HOSTS_MAX = 256
"""So many addresses make a certificate of about 4 kB, which is sent at every handshake."""


def add_certs_command(commands: Any) -> None:
    """Add the command to the subparsers of the main one."""
    certs = commands.add_parser("certs", help="make and show certificates")
    actions = certs.add_subparsers(metavar="ACTION", required=True)

    init = actions.add_parser("init", help="make the authority of a cluster")
    init.set_defaults(command=_init)

    issue = actions.add_parser("issue", help="make the certificates of a node or a client")
    issue.add_argument("name", nargs="?", metavar="NODE", help="name of the node")
    issue.add_argument("--client", metavar="NAME", help="of a client instead")
    issue.add_argument(
        "--host", action="append", default=[], help="an address or name the node is reached by"
    )
    issue.add_argument(
        "--network",
        action="append",
        default=[],
        metavar="A.B.C.D/N",
        help=f"every address of a network, of at most {NETWORK_HOSTS_MAX}",
    )
    issue.add_argument("--days", type=int, default=NODE_DAYS, help=f"default {NODE_DAYS}")
    issue.add_argument("--renew", action="store_true", help="replace those that are there")
    issue.set_defaults(command=_issue)

    roll = actions.add_parser("roll-over", help="replace the authority, in two steps")
    roll.add_argument("--finish", action="store_true", help="no longer trust the old one")
    roll.set_defaults(command=_roll_over)

    show = actions.add_parser("show", help="say what is in a folder, and until when it is valid")
    show.set_defaults(command=_show)

    for action in (init, issue, roll, show):
        action.add_argument(
            "--folder", type=Path, help="default: map-reduce/certs in the configuration folder"
        )


def default_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """``map-reduce/certs`` in the user's configuration folder."""
    config = environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(config) / "map-reduce" / "certs"


def _folder(options: argparse.Namespace) -> Path:
    given: Path | None = options.folder
    return given or default_folder()


def _init(options: argparse.Namespace) -> int:
    from map_reduce.certs.folders import AUTHORITY_KEY_NAME, make_authority

    folder = _folder(options)
    make_authority(folder)
    print(f"an authority is in {folder}; whoever reads {AUTHORITY_KEY_NAME} there can add nodes")
    print("next, for each node: map-reduce certs issue NODE --host ADDRESS")
    return 0


def _issue(options: argparse.Namespace) -> int:
    from map_reduce.certs.folders import issue_to
    from map_reduce.core.roles import Role

    if bool(options.name) == bool(options.client):
        raise ConfigError("name either a NODE or, by --client NAME, a client")
    if options.days < 1:
        raise ConfigError(f"--days is {options.days}; it must be at least 1")
    role = Role.CLIENT if options.client else Role.NODE
    hosts = [*options.host, *hosts_of(options.network)]
    if role is Role.CLIENT and hosts:
        raise ConfigError("--host and --network are for nodes; a client listens nowhere")
    target = issue_to(
        _folder(options),
        options.client or options.name,
        role,
        hosts,
        options.days,
        renew=options.renew,
    )
    print(f"copy {target} to where it is used, and name it there by MR_CERTS_FOLDER or --certs")
    return 0


def hosts_of(networks: Sequence[str]) -> list[str]:
    """Every address of some networks. Raises ConfigError: one is none, or they are too many."""
    found: list[str] = []
    for text in networks:
        try:
            network = ipaddress.ip_network(text)
        except ValueError as error:
            raise ConfigError(f"--network {text} is no network: {error}") from error
        if len(found) + network.num_addresses > NETWORK_HOSTS_MAX:
            raise ConfigError(
                f"--network {text}: a certificate names at most {NETWORK_HOSTS_MAX} addresses, "
                "as it is sent at every handshake; name a smaller network, or issue a "
                "certificate for each node"
            )
        found += map(str, network.hosts())
    return found


def _roll_over(options: argparse.Namespace) -> int:
    from map_reduce.certs.folders import finish_roll_over, roll_over

    folder = _folder(options)
    told = finish_roll_over(folder) if options.finish else roll_over(folder)
    if options.finish:
        print("only the new authority is trusted; copy authorities.pem to every machine:")
    else:
        print("both authorities are trusted. Copy authorities.pem to every machine; then renew")
        print("and copy every certificate (map-reduce certs issue NAME --renew); and at last run")
        print("map-reduce certs roll-over --finish:")
    for member in told:
        print(f"  {member}")
    return 0


def _show(options: argparse.Namespace) -> int:
    from map_reduce.certs.show import describe

    named = os.environ.get("MR_CERTS_FOLDER")
    folder = options.folder or (Path(named) if named else _folder(options))
    print(describe(folder))
    return 0
