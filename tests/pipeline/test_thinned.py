"""Some of many, and the page that shows them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from records_helper import make_report, make_search

from pipeline import report_page
from pipeline.thinned import thinned

REPO = Path(__file__).parent.parent.parent


@pytest.mark.parametrize(("count", "most"), [(0, 3), (3, 3), (10, 3), (1000, 7), (5, 1)])
def test_it_keeps_order_and_both_ends(count: int, most: int) -> None:
    found = thinned(range(count), most)
    assert found == sorted(set(found)) and len(found) == min(count, most)
    if most > 1 and count:
        assert (found[0], found[-1]) == (0, count - 1)


def test_the_page_of_a_long_search_shows_the_front_and_some_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    report = make_report(make_search(60))
    whole = report_page.page(report)
    assert "spread evenly" not in whole and rows(whole) == len(report.records)
    monkeypatch.setattr(report_page, "MOST_OTHERS", 9)
    short = report_page.page(report)
    others = len(report.records) - len(report.front_numbers)
    assert rows(short) == len(report.front_numbers) + 9
    assert f"the front and 9 of the {others} other trials" in short
    assert set(report.front_numbers) <= {record.number for record in report_page.shown(report).records}


def rows(page: str) -> int:
    return page[page.index("<tbody>") : page.index("</tbody>")].count("<tr")


def test_front_needs_no_torch() -> None:
    """Loading it takes seconds, on a slow board many, and the front is read from records alone."""
    code = "import sys, pipeline.api, pipeline.findings, pipeline.front_words; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPO, check=False).returncode == 0
