"""Bundles in the lake, each below its own digest. Knows files and digests; never runs what is in them."""

from __future__ import annotations

import hashlib

from raypipe.adapters.lake.store import Store
from raypipe.boundary import boundary
from raypipe.bundle import MANIFEST, Bundle, Lineage, load_bundle, load_lineage, pack


class LakeBundles:
    """All bundles of one lake."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def uri(self, digest: str) -> str:
        """Return where a bundle lies."""
        return self._store.lake("bundles", digest)

    def put(self, bundle: Bundle) -> str:
        """Store a bundle and return its digest; the manifest goes last, so that a bundle that is there is whole."""
        files = pack(bundle)
        digest = hashlib.sha256(files[MANIFEST]).hexdigest()
        with boundary("store bundle"):
            for name in sorted(files, key=lambda n: n == MANIFEST):
                self._store.write(f"{self.uri(digest)}/{name}", files[name])
        return digest

    def get(self, digest: str) -> Bundle:
        """Return a bundle, every byte of it verified.

        Raises
        ------
        BundleRefused
            When a file is missing or is not what the digest promises.
        """
        return load_bundle(self._store.read, self.uri(digest), digest)

    def lineage(self, digest: str) -> Lineage:
        """Return what a bundle was made from, without its weights.

        Raises
        ------
        BundleRefused
            When its manifest is missing or is not what the digest promises.
        """
        return load_lineage(self._store.read, self.uri(digest), digest)
