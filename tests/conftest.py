"""Every test is of one level, by its folder: `unit` is pure, `ray` and `e2e` are marked."""

from pathlib import Path

import pytest
from hypothesis import settings

# A busy machine is not a failure: properties have no deadline.
settings.register_profile("raypipe", deadline=None)
settings.load_profile("raypipe")


def pytest_collection_modifyitems(items):
    for item in items:
        level = Path(item.path).relative_to(Path(__file__).parent).parts[0]
        if level in ("ray", "e2e"):
            item.add_marker(getattr(pytest.mark, level))
