"""A bundle is believed only when every byte is the one its digest fixes, and only then parsed."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import bundles
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.bundle import MANIFEST, Bundle, digest_of, load_bundle, pack, unpack
from raypipe.errors import BundleRefused

FILES = pack(bundles.make())
DIGEST = digest_of(FILES)


def assert_same(one: Bundle, two: Bundle) -> None:
    for name in ("name", "columns", "label", "architecture", "transforms", "profile", "lineage", "code", "threshold"):
        assert getattr(one, name) == getattr(two, name)
    assert one.weights.keys() == two.weights.keys()
    assert all(np.array_equal(value, two.weights[name]) for name, value in one.weights.items())
    assert one.example.equals(two.example)


def test_a_bundle_comes_back_as_it_was() -> None:
    assert_same(unpack(FILES, DIGEST), bundles.make())


def test_a_bundle_with_user_code_comes_back_with_it(tmp_path: Path) -> None:
    code = bundles.entrypoint(tmp_path)
    files = pack(bundles.make(code))
    assert sorted(name for name in files if name.startswith("code/")) == [
        "code/my_model/__init__.py",
        "code/my_model/model.py",
        "code/my_model/parts.py",
    ]
    assert_same(unpack(files, digest_of(files)), bundles.make(code))


def test_packing_again_gives_the_same_bytes() -> None:
    assert pack(unpack(FILES, DIGEST)) == FILES


def test_the_digest_is_the_sha256_of_the_manifest() -> None:
    assert hashlib.sha256(FILES[MANIFEST]).hexdigest() == DIGEST


@given(st.sampled_from(sorted(FILES)), st.data())
def test_one_changed_byte_anywhere_is_refused_with_both_digests(name: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(FILES[name]) - 1))
    changed = bytearray(FILES[name])
    changed[at] ^= 1
    with pytest.raises(BundleRefused) as refused:
        unpack({**FILES, name: bytes(changed)}, DIGEST)
    assert refused.value.file == name
    assert hashlib.sha256(FILES[name]).hexdigest() in refused.value.message
    assert hashlib.sha256(changed).hexdigest() in refused.value.message


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_missing_file_is_refused_by_name(name: str) -> None:
    with pytest.raises(BundleRefused, match=f"{name} is missing"):
        unpack({n: data for n, data in FILES.items() if n != name}, DIGEST)


def test_changed_code_is_refused_before_any_of_it_runs(tmp_path: Path) -> None:
    files = pack(bundles.make(bundles.entrypoint(tmp_path)))
    files["code/my_model/model.py"] = b"raise SystemExit\n"
    before = set(sys.modules)
    with pytest.raises(BundleRefused, match=r"code/my_model/model\.py has sha256"):
        unpack(files, digest_of(files))
    assert not {name for name in set(sys.modules) - before if name.startswith("raypipe_code_")}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 2}, "format 2, this raypipe reads 1"),
        ({"surprise": 1}, "cannot be read"),
        ({"files": {"../outside": "0" * 64, "profile.json": "", "example.json": ""}}, "outside itself"),
    ],
)
def test_a_manifest_of_another_shape_is_refused(change: dict[str, object], said: str) -> None:
    manifest = json.dumps({**json.loads(FILES[MANIFEST]), **change}).encode()
    with pytest.raises(BundleRefused, match=said):
        unpack({**FILES, MANIFEST: manifest}, hashlib.sha256(manifest).hexdigest())


def test_a_bundle_is_loaded_from_wherever_it_is_read() -> None:
    stored = {f"s3://lake/bundles/{DIGEST}/{name}": data for name, data in FILES.items()}

    def read(uri: str) -> bytes:
        if uri not in stored:
            raise FileNotFoundError(uri)
        return stored[uri]

    assert_same(load_bundle(read, f"s3://lake/bundles/{DIGEST}", DIGEST), bundles.make())
    with pytest.raises(BundleRefused, match=r"bundle\.json is missing"):
        load_bundle(read, "s3://lake/bundles/elsewhere", DIGEST)


def test_nothing_in_a_bundle_is_a_pickle() -> None:
    assert {name.rsplit(".", 1)[1] for name in FILES} == {"json", "safetensors"}
    assert not [name for name, data in FILES.items() if data.startswith(b"\x80")]
