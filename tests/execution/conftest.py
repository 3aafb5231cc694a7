"""What holds for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from map_reduce import kernel
from map_reduce.execution import groups, map_side, pair_sides, partitioned, read, summing


@pytest.fixture(autouse=True, scope="session")
def two_records_at_first():
    """Inputs of tests are short: the loop for those after the first few records, too, is to see
    some of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(map_side, "RECORDS_AT_FIRST", 2)
        yield


IN_PYTHON = pytest.param("python", marks=pytest.mark.slow if kernel.compiled else ())
"""Every day the loops that users have; all tests of an environment without the compiled part, and
``--all``, have these."""


@pytest.fixture(
    autouse=True,
    scope="module",
    params=["compiled", IN_PYTHON] if kernel.compiled else [IN_PYTHON],
)
def loops(request: pytest.FixtureRequest) -> Iterator[None]:
    """With the compiled loops, where there are any, and without."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "python":
            for module in (groups, map_side, pair_sides, partitioned, summing):
                patch.setattr(module, "compiled", None)
            patch.setattr(read, "lines_of", kernel.python_lines_of)
        yield
