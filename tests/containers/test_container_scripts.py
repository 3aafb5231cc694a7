"""The scripts and the nodes' lives in containers."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import words
from container_cluster import ROOT, Cluster, docker, wait_until
from map_reduce.client.server_interface import ServerInterface

SAMPLE = "examples/sample.txt"


def counted_words(cluster: Cluster) -> list[str]:
    """What the example prints, run on this machine with no argument but its file."""
    done = subprocess.run(
        [sys.executable, "examples/word_count.py", "--file", SAMPLE],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=cluster.environ,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.splitlines() if "words," in line]


def test_from_one_command_to_words_counted_from_the_host_and_from_a_container(
    cluster: Cluster,
) -> None:
    told = cluster.start(3)
    assert "finds the ring of 3" in told
    assert "python examples/word_count.py --file examples/sample.txt" in told
    assert counted_words(cluster) == ["      942  words, 290 of them distinct"]
    in_container = cluster.script("run_client", "test", "examples/word_count.py", "--file", SAMPLE)
    assert "942  words, 290 of them distinct" in in_container
    assert "ring of 3, whole" in cluster.script("run_container", "test", "ring")

    again = cluster.script("batch_run", "test", "2", "--no-build", check=False)
    assert "a cluster 'test' with 3 containers runs already" in again

    one = cluster.container(1)
    assert docker("inspect", "--format", "{{.Config.User}}", one) == "node"
    check = ("exec", one, "map-reduce", "ping")
    assert "is in its ring, with 2 successors" in docker(*check)
    stopped = docker("stop", cluster.container(2))  # in order, so that nobody has to find out
    assert stopped == cluster.container(2)
    wait_until("the ring is of two", lambda: "with 1 successors" in docker(*check))

    cluster.script("batch_kill", "test")
    assert cluster.containers() == []
    assert not cluster.file.exists()
    assert "no container of the cluster" in cluster.script("batch_kill", "test")


def test_what_an_interrupted_run_has_left_is_removed(cluster: Cluster) -> None:
    run = subprocess.Popen(
        [str(ROOT / "scripts/batch_run"), "test", "4", "--no-build"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=cluster.environ,
        start_new_session=True,
    )
    wait_until("a container is there", lambda: bool(cluster.containers()))
    run.send_signal(signal.SIGTERM)
    assert run.wait(timeout=90) != 0
    assert cluster.containers() == []

    docker("create", "--name", cluster.container(1), "--label", "map-reduce.cluster=test",
           "--entrypoint", "true", "map-reduce-test/node")  # fmt: skip
    told = cluster.start(1)
    assert "Removing containers that an earlier run has left" in told


def test_destroy_and_tail_end_with_the_script(cluster: Cluster) -> None:
    run = subprocess.Popen(
        [str(ROOT / "scripts/batch_run"), "test", "2", "-dtn"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=cluster.environ,
        start_new_session=True,
    )
    assert run.stdout is not None
    seen: set[str] = set()
    for line in run.stdout:
        if " is up (for holders of certificates" in line:
            seen.add(line.split(" | ")[0])
        if len(seen) == 2:
            break
    assert seen == {"test-1", "test-2"}
    run.send_signal(signal.SIGTERM)
    run.stdout.read()
    assert run.wait(timeout=90) == 143
    assert cluster.containers() == []


def test_a_subnet_that_somebody_has_is_named(cluster: Cluster) -> None:
    docker("network", "create", "--subnet", "172.18.0.0/16", cluster.network, check=False)
    cluster.environ["MR_NETWORK"] = "map-reduce-test-second"
    told = cluster.script("batch_run", "test", "1", "--no-build", check=False)
    assert "could not be made" in told
    assert "MR_SUBNET=" in told
    assert cluster.containers() == []


def test_the_whole_cluster_restarts_with_what_it_kept(cluster: Cluster) -> None:
    """Stopped in order, and killed: its records, and the results of jobs that had ended."""
    cluster.start(3, "--no-remove", "--keep-data")
    containers = cluster.containers()
    for end in ("stop", "kill"):
        before = json.loads(cluster.command("status", "--json"))
        with ServerInterface(cluster.address(1), certs=cluster.certs, quiet=True) as server:
            job = server.startup(["b a", "b"], words.map, words.reduce)
            wait_until("the job has ended", lambda job=job: job.state == "done")
        docker(end, *containers)
        docker("start", *containers)
        cluster.await_whole(3)
        after = json.loads(cluster.command("status", "--json"))
        assert after["cluster_id"] == before["cluster_id"]
        assert {n["incarnation"] for n in after["nodes"]}.isdisjoint(
            n["incarnation"] for n in before["nodes"]
        )
        with ServerInterface(cluster.address(2), certs=cluster.certs, quiet=True) as server:
            assert server.attach(job.id).result(60) == {"a": 1, "b": 2}


def test_a_cluster_grows_and_shrinks(cluster: Cluster) -> None:
    cluster.start(1, "--cpus", "1")
    assert "the ring of 3" in cluster.script("batch_scale", "test", "3")
    limit = "{{.HostConfig.NanoCpus}}"
    assert docker("inspect", "--format", limit, cluster.container(3)) == "1000000000"
    assert "the ring of 1" in cluster.script("batch_scale", "test", "1")
    assert cluster.containers() == [cluster.container(1)]
    told = cluster.script("batch_scale", "other", "2", check=False)
    assert "no container of the cluster 'other' runs" in told
