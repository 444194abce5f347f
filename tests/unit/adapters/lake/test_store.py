import pytest
from moto.server import ThreadedMotoServer

from raypipe.adapters.lake import store as stores
from raypipe.adapters.lake.store import Store
from raypipe.environment import SecretRef, StoreAddress
from raypipe.errors import AccessDenied, ObjectChanged, Unavailable


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


def test_private_objects_are_listed_only_where_they_are_asked_for(store, tmp_path):
    for name in ("a", ".b", "_c"):
        store.write(f"{tmp_path}/{name}", b"x")
    assert [o.uri for o in store.listing(str(tmp_path))] == [f"{tmp_path}/a"]
    assert len(store.listing(str(tmp_path), private=True)) == 3


@pytest.fixture
def s3(monkeypatch):
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    key, secret = SecretRef(env="AWS_ACCESS_KEY_ID"), SecretRef(env="AWS_SECRET_ACCESS_KEY")
    address = StoreAddress("s3://lake/x", f"http://{host}:{port}", access_key=key, secret_key=secret)
    store = Store(address)
    store.ensure_bucket(address.lake)
    yield store
    server.stop()


@pytest.mark.parametrize("where", ["store", "s3"])
def test_removed_objects_are_gone_the_others_are_not_and_a_second_time_is_no_error(where, request, monkeypatch):
    monkeypatch.setattr(stores, "_MOST_DELETED", 2)
    store = request.getfixturevalue(where)
    names = [store.lake(f"{n}.parquet") for n in range(6)]
    for name in names:
        store.write(name, b"x")
    store.remove(names[:5])
    assert [o.uri for o in store.listing(store.lake(""))] == names[5:]
    store.remove(names[:5])
    store.remove([])


def test_a_store_that_does_not_let_delete_is_said(s3, monkeypatch):
    def refuse(**request):
        key = request["Delete"]["Objects"][0]["Key"]
        return {"Errors": [{"Key": key, "Code": "AccessDenied", "Message": "Access Denied"}]}

    monkeypatch.setattr(s3._s3, "delete_objects", refuse)
    with pytest.raises(AccessDenied, match=r"does not delete s3://lake/x/a \(Access Denied\)"):
        s3.remove(["s3://lake/x/a"])


def test_a_bucket_that_does_not_exist_is_said_when_something_is_removed(s3):
    with pytest.raises(Unavailable, match="the bucket 'other' does not exist"):
        s3.remove(["s3://other/a"])
