"""The page of results says what the result files say."""

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def test_the_page_is_rendered_from_the_result_files():
    subprocess.run([sys.executable, str(BENCHMARKS / "render.py"), "--check"], check=True)


def test_it_has_both_tables():
    page = (BENCHMARKS / "README.md").read_text()
    assert "| 256, 1, 10000, 16 | truncated-gaussian |" in page
    assert "| mushroom | coupling" in page
