"""What holds for all tests of this folder."""

from __future__ import annotations

import pytest

from map_reduce.execution import map_side


@pytest.fixture(autouse=True, scope="session")
def two_records_at_first():
    """Inputs of tests are short: the loop for those after the first few records, too, is to see
    some of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(map_side, "RECORDS_AT_FIRST", 2)
        yield
