"""What a script with a small job loads: each module costs all such scripts its time.

The sister of this test for worker processes is in ``workers/test_process_pool.py``.
"""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys

before = set(sys.modules)
from map_reduce import ServerInterface

with ServerInterface(quiet=True, slots=1) as server:
    job = server.startup(["a b", "b"], lambda n, text: [(word, 1) for word in text.split()],
                         lambda word, counts: sum(counts))
    assert job.result(60) == {"a": 1, "b": 2}
print(*sorted(set(sys.modules) - before))
"""

OF_NO_USE = {
    *("asyncio", "concurrent", "multiprocessing", "http", "email", "ssl", "urllib.request"),
    *("hashlib", "_hashlib", "secrets", "hmac", "json", "statistics", "fractions"),
    *("Pyro4", "serpent", "tqdm", "psutil", "cryptography"),
    *("map_reduce.transport.pyro", "map_reduce.storage.disk_records", "map_reduce.cli"),
    *("map_reduce.execution.attempt", "map_reduce.workers.process"),
    *("map_reduce.testing", "map_reduce.simulation", "map_reduce.certs"),
}


def test_a_small_job_loads_nothing_that_it_does_not_need() -> None:
    # Without what a .pth file of the environment may load; map_reduce itself is on the path.
    path = [entry for entry in sys.path if entry]
    boot = f"import sys; sys.path[:] = {path!r}\n{SCRIPT}"
    done = subprocess.run([sys.executable, "-c", boot], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert "map_reduce.server.node" in loaded
    assert sorted(loaded & OF_NO_USE) == []
