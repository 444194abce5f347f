"""Every test is of one level, by its folder: `unit` is pure, `ray` and `e2e` are marked.

With two workers the tests of one Ray cluster or of one shared platform stay together, and the longest begin first.
"""

from pathlib import Path

import pytest
from hypothesis import settings

# A busy machine is not a failure: properties have no deadline.
settings.register_profile("raypipe", deadline=None)
settings.load_profile("raypipe")

ROOT = Path(__file__).parent
ORDER = ["shared platform", "own platforms", "ray", "unit"]


def group_of(path: Path) -> str:
    level = path.relative_to(ROOT).parts[0]
    if level == "e2e":
        return "own platforms" if path.name in ("test_platform.py", "test_crash.py") else "shared platform"
    return level


def pytest_collection_modifyitems(items):
    for item in items:
        group = group_of(item.path)
        if group != "unit":
            item.add_marker(pytest.mark.e2e if "platform" in group else pytest.mark.ray)
            item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: ORDER.index(group_of(item.path)))
