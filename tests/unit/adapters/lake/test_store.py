import pytest

from raypipe.adapters.lake.store import Store
from raypipe.environment import StoreAddress
from raypipe.errors import ObjectChanged


@pytest.fixture
def store(tmp_path):
    return Store(StoreAddress(lake=str(tmp_path)))


def test_an_object_is_read_in_the_version_that_was_listed(store, tmp_path):
    store.write(f"{tmp_path}/a", b"one")
    [listed] = store.listing(str(tmp_path))
    assert store.read(listed.uri, listed.etag) == b"one"


def test_an_object_that_was_written_over_is_not_read_as_the_version_before(store, tmp_path):
    store.write(f"{tmp_path}/a", b"one")
    [listed] = store.listing(str(tmp_path))
    store.write(f"{tmp_path}/a", b"two and more")
    with pytest.raises(ObjectChanged, match=f"the version {listed.etag} is gone") as caught:
        store.read(listed.uri, listed.etag)
    assert caught.value.uri == listed.uri
    assert store.read(listed.uri) == b"two and more"
