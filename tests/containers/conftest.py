"""Run by ``scripts/test_containers``; skipped without a Docker engine and its base image."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from container_cluster import ROOT, Cluster, docker, has_engine

IMAGE = "map-reduce-test/node"
NETWORK = "map-reduce-test"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.containers)
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(scope="session")
def image() -> Iterator[str]:
    """The image, built as batch_run builds it; its network goes at the end."""
    if not has_engine():
        pytest.skip("no Docker engine answers; scripts/test_containers starts one")
    base = os.environ.get("CONTAINER_TEST_BASE")
    if base is None:
        pytest.skip("CONTAINER_TEST_BASE names no base image; see scripts/test_containers")
    options = os.environ.get("CONTAINER_TEST_BUILD_OPTIONS", "").split()
    docker("build", "-q", *options, "--build-arg", f"PYTHON_IMAGE={base}", "-t", IMAGE, str(ROOT))
    yield IMAGE
    docker("network", "rm", NETWORK, check=False)


@pytest.fixture
def cluster(image: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Not started yet; ended afterwards, with all that it left."""
    made = Cluster("test", tmp_path, image=IMAGE, network=NETWORK)
    yield made
    if request.node.rep_call_failed:
        for name in made.containers():
            print(f"--- {name}\n{docker('logs', '--tail', '20', name, check=False)}")
    made.end()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.when == "call":
        item.rep_call_failed = report.failed  # type: ignore[attr-defined]
    return report  # type: ignore[return-value]
