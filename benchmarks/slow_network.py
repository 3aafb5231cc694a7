"""What deflating brings, and costs, in networks of different speeds.

    sudo python benchmarks/slow_network.py FILE [--mbit 8,40,80,160,400,0] [--rounds 3]

A ring of three nodes with a worker each, and a client, are hosts of a network whose links carry so
many Mbit/s in each direction (0: as many as they can). The job has no combiner: of each word of a
text the lines it stands in are counted, so that as many bytes travel as the text has. All nodes
read the file where it is. Two such rings take turns: in one nothing is deflated
(``MR_COMPRESSION=0``). The time is the job's own, without the start of the client; its first run at
each speed is not counted.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import measure
import words
from map_reduce.client.server_interface import ServerInterface
from map_reduce.job import Files
from namespaces import Host, network

NODES = 3
NODE = (sys.executable, "-m", "map_reduce")
PORTS = {"as it is": 9000, "deflated": 9001}
END_S_MAX = 30.0


def map_line(number: int, line: str) -> list[tuple[str, int]]:
    return [(word, number) for word, _ in words.map(number, line)]


def count_lines(word: str, numbers: list[int]) -> int:
    return len(set(numbers))


def client(path: str) -> None:
    """Run the job once on the ring that is found."""
    with ServerInterface(progress=False) as server:
        job = server.startup(Files(path), map_line, count_lines)
        digest = measure.digest_of(job.result())
        report = job.report
        print(
            json.dumps(
                {
                    "digest": digest,
                    "time_s": report.time_s,
                    "shuffled": report.shuffled_bytes,
                    "repeated": report.repeated,
                }
            )
        )


@contextlib.contextmanager
def ring(hosts: Sequence[Host], folder: Path, way: str) -> Iterator[dict[str, str]]:
    """A ring with a node on each host; the environment of its clients."""
    port = PORTS[way]
    env = {
        **os.environ,
        "MR_COMPRESSION": str(int(way == "deflated")),
        "MAP_REDUCE_CLUSTER_FILE": str(folder / f"{port}.json"),
    }
    authority = folder / "certs"
    nodes = []
    with contextlib.ExitStack() as stack:
        for number, host in enumerate(hosts):
            certs = str(authority / f"node-{host.name}")
            join = ("--join", f"{hosts[0].address}:{port}") if number else ()
            where = ("--host", host.address, "--port", str(port))
            log = stack.enter_context(open(folder / f"{host.name}-{port}.log", "wb"))
            nodes.append(
                subprocess.Popen(
                    host.command(*NODE, "node", *where, *join, "--slots", "1", "--certs", certs),
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            )
            stack.callback(end, nodes[-1])
            if not number:
                use(host, port, authority, 1, env)
        use(hosts[0], port, authority, len(hosts), env)
        yield env


def use(host: Host, port: int, authority: Path, nodes: int, env: dict[str, str]) -> None:
    """Return when the ring is whole, of so many nodes; note it for clients."""
    certs = str(authority / "client-bench")
    command = (*NODE, "use", f"{host.address}:{port}", "--certs", certs, "--nodes", str(nodes))
    measure.run(host.command(*command), env, timeout_s=120)


def end(node: subprocess.Popen[bytes]) -> None:
    node.send_signal(signal.SIGTERM)
    try:
        node.wait(END_S_MAX)
    except subprocess.TimeoutExpired:
        node.kill()
        node.wait()


def issue(hosts: Sequence[Host], folder: Path) -> None:
    """Certificates for all hosts, and for a client."""
    authority = ("--folder", str(folder / "certs"))
    measure.run([*NODE, "certs", "init", *authority], os.environ, timeout_s=60)
    for host in hosts:
        named = (f"node-{host.name}", "--host", host.address)
        measure.run([*NODE, "certs", "issue", *named, *authority], os.environ, timeout_s=60)
    measure.run(
        [*NODE, "certs", "issue", "--client", "client-bench", *authority], os.environ, timeout_s=60
    )


def main() -> None:
    if sys.argv[1:2] == ["--client"]:
        client(sys.argv[2])
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--mbit", default="8,40,80,160,400,0")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(measure.describe_machine())
    rows, digests = [], set()
    with (
        network(NODES + 1) as hosts,
        tempfile.TemporaryDirectory(prefix="slow-network-") as name,
        contextlib.ExitStack() as stack,
    ):
        folder, nodes, outside = Path(name), hosts[:NODES], hosts[NODES]
        folder.chmod(0o755)
        issue(nodes, folder)
        envs = {way: stack.enter_context(ring(nodes, folder, way)) for way in PORTS}
        job = outside.command(sys.executable, __file__, "--client", str(options.file.resolve()))
        for mbit in map(float, options.mbit.split(",")):
            for host in nodes:
                host.limit(mbit or None)
            times: dict[str, list[float]] = {way: [] for way in PORTS}
            for number in range(options.rounds + 1):
                for way, env in envs.items():
                    said = json.loads(measure.run(job, env).splitlines()[-1])
                    print(f"{mbit:g} Mbit/s, {way}: {said}", file=sys.stderr, flush=True)
                    digests.add(said["digest"])
                    times[way] += [said["time_s"]] if number else []
            plain, deflated = (statistics.median(times[way]) for way in PORTS)
            rows.append((f"{mbit:g}", f"{plain:.2f}", f"{deflated:.2f}", f"{deflated / plain:.2f}"))
    measure.print_table(("Mbit/s", "as it is, s", "deflated, s", "ratio"), rows)
    print("answers are equal" if len(digests) == 1 else f"ANSWERS DIFFER: {digests}")


if __name__ == "__main__":
    main()
