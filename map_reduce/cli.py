"""The command ``map-reduce``: parse the flags, call one function."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from map_reduce._version import VERSION
from map_reduce.certs.command import add_certs_command
from map_reduce.errors import ConfigError, MapReduceError
from map_reduce.server.logs import set_up_logging

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit status."""
    if sys.stdout is None:
        raise SystemExit("map-reduce: standard output is closed")
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        set_up_logging()
        return command(options)
    except ConfigError as error:
        print(f"map-reduce: {error}", file=sys.stderr)
        return EXIT_USAGE
    except MapReduceError as error:
        print(f"map-reduce: {error}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # as in: map-reduce run … | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except OSError as error:  # the output's disk is full, or the like
        print(f"map-reduce: {error}", file=sys.stderr)
        return EXIT_FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="map-reduce", description="MapReduce on a ring of equal nodes."
    )
    parser.add_argument("--version", action="version", version=f"map-reduce {VERSION}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    node = commands.add_parser("node", help="run one node, until Ctrl-C")
    node.add_argument("--host", help="address to listen on (default 127.0.0.1; MR_HOST)")
    node.add_argument("--port", type=int, help="port; 0, the default, takes a free one (MR_PORT)")
    node.add_argument(
        "--join", action="append", default=[], metavar="HOST:PORT", help="a node of the ring"
    )
    node.add_argument(
        "--found",
        action="store_true",
        help="begin a ring where none of --join is in one, when it is this node's turn",
    )
    node.add_argument("--slots", type=int, help="worker processes (MR_SLOTS)")
    node.add_argument("--data-folder", type=Path, help="where to keep blocks (MR_DATA_FOLDER)")
    _add_certs(node, "node")
    node.add_argument("--ready-fd", type=int, help=argparse.SUPPRESS)
    node.add_argument("--lifeline", action="store_true", help=argparse.SUPPRESS)
    node.set_defaults(command=_node)

    cluster = commands.add_parser("cluster", help="run a ring of nodes on this machine")
    cluster.add_argument("--nodes", type=int, default=3, help="how many (default 3)")
    cluster.add_argument("--port", type=int, default=0, help="first port (default: free ones)")
    cluster.add_argument("--slots", type=int, help="worker processes of each node")
    cluster.add_argument("--detach", action="store_true", help="run it in the background")
    cluster.set_defaults(command=_cluster)

    status = commands.add_parser("status", help="show the nodes of a cluster and their jobs")
    status.add_argument("--address", metavar="HOST:PORT", help="any node (default: discovered)")
    _add_certs(status, "client")
    status.add_argument("--json", action="store_true", help="for programs")
    status.set_defaults(command=_status)

    jobs = commands.add_parser("jobs", help="list the jobs of a cluster")
    jobs.add_argument("--address", metavar="HOST:PORT", help="any node (default: discovered)")
    _add_certs(jobs, "client")
    jobs.add_argument("--json", action="store_true", help="for programs")
    jobs.set_defaults(command=_jobs)

    ring = commands.add_parser("ring", help="show the ring, and whether it is whole")
    ring.add_argument("--address", metavar="HOST:PORT", help="any node (default: discovered)")
    _add_certs(ring, "client")
    ring.add_argument("--json", action="store_true", help="for programs")
    ring.set_defaults(command=_ring)

    run = commands.add_parser("run", help="run a job over files and print its results")
    run.add_argument("files", nargs="+", metavar="FILE", help="paths or patterns")
    for role, required in (("map", True), ("reduce", True), ("combine", False)):
        run.add_argument(
            f"--{role}",
            required=required,
            metavar="WHERE:NAME",
            help=f"the {role} function, as in jobs.py:count or package.module:count"
            + ("; or a ready-made one, as in sum or 'top(3)'" if role == "reduce" else ""),
        )
    run.add_argument("--address", metavar="HOST:PORT", help="any node (default: discovered)")
    _add_certs(run, "client")
    run.add_argument("--encoding", default="utf-8", help="of the files (default utf-8)")
    run.add_argument("--sort", action="store_true", help="print results in the order of keys")
    run.add_argument(
        "--sort-values",
        nargs="?",
        const="",
        metavar="WHERE:NAME",
        help="give reduce the values of a key in order, by what a function gives for each",
    )
    run.add_argument("--json", action="store_true", help="one [key, value] a line")
    run.add_argument(
        "--output", metavar="FOLDER", help="save the results in files of this folder instead"
    )
    run.add_argument(
        "--format",
        default="jsonl",
        choices=("jsonl", "text", "csv", "lines", "pickle"),
        help="of these files (default jsonl)",
    )
    run.add_argument(
        "--on-bad-record",
        default="fail",
        metavar="fail|skip:N|skip:P%",
        help="what to do about records that cannot be processed (default fail)",
    )
    run.add_argument("--task-timeout", type=float, metavar="S", help="seconds a task may take")
    run.add_argument("--memory", type=int, metavar="MIB", help="that a worker may use for the job")
    run.add_argument("--no-backups", action="store_true", help="begin no task a second time")
    run.set_defaults(command=_run)

    add_certs_command(commands)

    ping = commands.add_parser("ping", help="ask one node whether it is in its ring")
    ping.add_argument("--address", metavar="HOST:PORT", help="default: MR_HOST and MR_PORT")
    _add_certs(ping, "node or client")
    ping.set_defaults(command=_ping)

    use = commands.add_parser("use", help="have ServerInterface() find a cluster from now on")
    use.add_argument("addresses", nargs="*", metavar="HOST:PORT", help="some of its nodes")
    _add_certs(use, "client")
    use.add_argument("--nodes", type=int, help="wait until the ring is whole, of so many nodes")
    use.add_argument("--forget", action="store_true", help="no longer")
    use.add_argument("--source", default="", help=argparse.SUPPRESS)
    use.set_defaults(command=_use)

    stop = commands.add_parser("stop", help="stop all nodes of a cluster")
    stop.add_argument("--address", metavar="HOST:PORT", help="any node (default: discovered)")
    _add_certs(stop, "node")
    stop.set_defaults(command=_stop)
    return parser


def _add_certs(command: argparse.ArgumentParser, whose: str) -> None:
    command.add_argument(
        "--certs",
        type=Path,
        dest="certs_folder",
        metavar="FOLDER",
        help=f"certificates of a {whose} (MR_CERTS_FOLDER)",
    )


# Each command imports what it needs when it is called: `map-reduce --help` is quick.


def _node(options: argparse.Namespace) -> int:
    from map_reduce.core.identifiers import Address
    from map_reduce.server.configs import ClusterConfig, NodeConfig
    from map_reduce.server.serve import serve

    names = ("host", "port", "certs_folder", "slots", "data_folder")
    given = {n: getattr(options, n) for n in names if getattr(options, n) is not None}
    serve(
        ClusterConfig.from_environment(),
        dataclasses.replace(NodeConfig.from_environment(), **given),
        [Address.parse(text) for text in options.join],
        found=options.found,
        ready_fd=options.ready_fd,
        lifeline=options.lifeline,
    )
    return 0


def _cluster(options: argparse.Namespace) -> int:
    from map_reduce.server.cluster_process import run_detached, run_in_foreground

    if options.nodes < 1:
        raise ConfigError(f"--nodes is {options.nodes}; a ring has at least one")
    if not 0 <= options.port <= (65536 - options.nodes if options.port else 0):
        raise ConfigError(f"--port {options.port} leaves no room for {options.nodes} ports")
    run = run_detached if options.detach else run_in_foreground
    return run(options.nodes, options.port, options.slots)


def _status(options: argparse.Namespace) -> int:
    from map_reduce.client.status import cluster_status, status_json, status_text

    status = cluster_status(options.address, options.certs_folder)
    print(status_json(status) if options.json else status_text(status))
    return 0


def _jobs(options: argparse.Namespace) -> int:
    from map_reduce.client.job_list import jobs_text

    print(jobs_text(options.address, options.certs_folder, as_json=options.json))
    return 0


def _ring(options: argparse.Namespace) -> int:
    from map_reduce.client.ring_report import report_json, report_text, ring_report

    report = ring_report(options.address, options.certs_folder)
    print(report_json(report) if options.json else report_text(report))
    return 0 if report.whole else EXIT_FAILED


def _run(options: argparse.Namespace) -> int:
    from map_reduce.client.load import load_function
    from map_reduce.client.output import write_account, write_results
    from map_reduce.client.server_interface import ServerInterface
    from map_reduce.job import Files, Options

    asked = Options(
        on_bad_record=options.on_bad_record,
        timeout_s=options.task_timeout,
        memory_mb_max=options.memory,
        backups=False if options.no_backups else None,
    )
    functions: dict[str, Any] = {
        role: load_function(getattr(options, role), role)
        for role in ("map", "reduce", "combine")
        if getattr(options, role)
    }
    if options.output is not None:
        from map_reduce.client.saving import made_folder

        made_folder(options.output)  # rather now than when the job is done
    asked_of_results: dict[str, Any] = {"sort": options.sort}
    if options.output is not None and options.format != "pickle":
        asked_of_results["save_as"] = options.format
    if options.sort_values is not None:
        by = options.sort_values
        asked_of_results["sort_values"] = load_function(by, "sort-values") if by else True
    with ServerInterface(options.address, certs=options.certs_folder) as server:
        files = Files(*options.files, encoding=options.encoding)
        job = server.startup(files, **functions, **asked_of_results, options=asked)
        if options.output is not None:
            job.save(options.output, options.format)
        else:
            write_results(job.stream(), sys.stdout, as_json=options.json)
        write_account(job, sys.stderr)
    return 0


def _ping(options: argparse.Namespace) -> int:
    from map_reduce.client.known import ping

    print(ping(options.address, options.certs_folder))
    return 0


def _use(options: argparse.Namespace) -> int:
    from map_reduce.client.known import forget, use

    if options.forget:
        print(forget(options.source))
    elif not options.addresses:
        raise ConfigError("name the addresses of some nodes, or --forget")
    else:
        print(use(options.addresses, options.certs_folder, options.nodes, options.source))
    return 0


def _stop(options: argparse.Namespace) -> int:
    from map_reduce.client.status import stop_cluster

    print(stop_cluster(options.address, options.certs_folder))
    return 0
