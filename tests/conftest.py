"""Every test is of one level, by its folder: `unit` is pure, the others are marked."""

from pathlib import Path

import pytest
from hypothesis import settings

# A busy machine is not a failure: properties have no deadline.
settings.register_profile("raypipe", deadline=None)
settings.load_profile("raypipe")

ROOT = Path(__file__).parent


def pytest_collection_modifyitems(items):
    for item in items:
        level = item.path.relative_to(ROOT).parts[0]
        if level != "unit":
            item.add_marker(getattr(pytest.mark, level))
