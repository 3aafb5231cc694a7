"""Aim the faults that map-reduce is tested with at your own jobs. See docs/testing.md."""

from __future__ import annotations

from map_reduce.testing.cluster import ChaosCluster, ChaosNode
from map_reduce.testing.jobs import ChaosRun, run_under_chaos
from map_reduce.testing.sequential import sequential
from map_reduce.testing.simulated import Simulated, simulate

__all__ = [
    "ChaosCluster",
    "ChaosNode",
    "ChaosRun",
    "Simulated",
    "run_under_chaos",
    "sequential",
    "simulate",
]
