"""Deliberate mistakes in ingestion and streams, each put into a running driver only, so that the checker can be seen to find it."""

from __future__ import annotations

from dataclasses import replace

from raypipe.adapters.ingest_manifest import OpenManifests
from raypipe.adapters.lake import tables
from raypipe.adapters.lake.tables import LakeTable


def events_before_letters() -> None:
    """Commit the events first, so that a run that dies between the two never comes back for the dead letters."""
    commit = LakeTable.commit
    held = []

    def late(self, files, **how):
        if self.name == "dead_letters":
            held.append((self, files, how))
            return
        commit(self, files, **how)
        while self.name.startswith("events/") and held:
            table, kept, its = held.pop()
            commit(table, kept, **its)

    LakeTable.commit = late


def no_transaction() -> None:
    """Commit without an application transaction, so that nothing tells that a generation is there."""
    properties = tables.CommitProperties
    tables.CommitProperties = lambda custom_metadata, app_transactions: properties(custom_metadata=custom_metadata)
    LakeTable._refuse_moved = lambda *_: None


def lists_again() -> None:
    """Execute what lies in the landing zone now under an open manifest's number, instead of the manifest."""
    unfinished = OpenManifests._unfinished

    def listed(self, work):
        work = unfinished(self, work)
        if not work.manifest:
            return work
        like = work.manifest[-1]
        entries = {(e.uri, e.etag): e for e in work.manifest}
        for feed in work.spec.feeds:
            for o in self._store.listing(feed.uri):
                new = replace(like, position=len(entries), uri=o.uri, etag=o.etag, format=feed.format)
                entries.setdefault((o.uri, o.etag), new)
        return replace(work, manifest=tuple(entries.values()))

    OpenManifests._unfinished = listed


def forgets_the_table() -> None:
    """Look for duplicates among the new rows only."""
    from raypipe.adapters import ingest_unique

    ingest_unique._within = lambda *_: []


def positions_before_rows() -> None:
    """Commit where a stream goes on in a step of its own, before the rows."""
    commit = LakeTable.commit

    def apart(self, files, *, positions=None, **how):
        if positions and self.name.startswith("events/"):
            app = f"{how['app_id']}/apart"
            commit(self, [], app_id=app, generation=self.generation(app) + 1, positions=positions)
            positions = None
        return commit(self, files, positions=positions, **how)

    LakeTable.commit = apart


def forgets_the_letters() -> None:
    """Begin a stream without a look for letters that brought no events."""
    from raypipe.adapters.stream_tables import StreamTables

    StreamTables._unknown = lambda self, rows: rows


def merges_a_file_away() -> None:
    """Write less than there was when small files are merged."""
    from raypipe.adapters import stream_compact

    merged = stream_compact.compacted
    stream_compact.compacted = lambda table, group: merged(table, group[1:])


def leaves_a_file_out() -> None:
    """Commit all files of events but the last."""
    commit = LakeTable.commit

    def less(self, files, **how):
        commit(self, files[:-1] if self.name.startswith("events/") else files, **how)

    LakeTable.commit = less
