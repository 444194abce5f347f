"""Every test is of one level, by its folder: `unit` is pure, `ray` and `e2e` are marked.

With two workers one has everything that starts a cluster, one cluster after the other, and the other has the rest.
"""

from pathlib import Path

import pytest
from hypothesis import settings

# A busy machine is not a failure: properties have no deadline.
settings.register_profile("raypipe", deadline=None)
settings.load_profile("raypipe")

ROOT = Path(__file__).parent
ORDER = ["e2e", "ray", "unit"]


@pytest.hookimpl(tryfirst=True)  # before the workers read the groups
def pytest_collection_modifyitems(items):
    for item in items:
        level = level_of(item)
        if level != "unit":
            item.add_marker(getattr(pytest.mark, level))
            item.add_marker(pytest.mark.xdist_group("clusters"))
    items.sort(key=lambda item: ORDER.index(level_of(item)))


def level_of(item):
    return item.path.relative_to(ROOT).parts[0]
