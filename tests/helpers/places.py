"""Where the tests find what is not code."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
HELPERS = TESTS / "helpers"
GOLDEN = TESTS / "golden"
CONFIGS = ROOT / "configs"
# Real X-rays and reports beside the checkout; tests that need them skip with a reason where they are not.
SHARED = ROOT.parent / "shared"
