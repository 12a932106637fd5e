"""Some of many, and the page that shows them."""

from __future__ import annotations

import pytest

from pipeline.thinned import thinned


@pytest.mark.parametrize(("count", "most"), [(0, 3), (3, 3), (10, 3), (1000, 7), (5, 1)])
def test_it_keeps_order_and_both_ends(count: int, most: int) -> None:
    found = thinned(range(count), most)
    assert found == sorted(set(found)) and len(found) == min(count, most)
    if most > 1 and count:
        assert (found[0], found[-1]) == (0, count - 1)
