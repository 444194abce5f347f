"""Delta tables whose every commit is fenced by an application transaction.

`commit` adds the files that workers wrote, and with them `(app_id, generation)`. Of two writers that race for a
generation one loses with `GenerationMoved`, and a writer that comes back after a crash sees that its generation
is already there. Exactly-once ingestion, decisions and the audit trail are this one operation.
Where it matters what else a table holds, as with keys that occur once, a commit also takes the table's turn: it holds
only if nobody committed since the rows were compared.
Knows Delta; does not know what the rows mean.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, Schema, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction

from raypipe.adapters.lake.actions import (
    Standing,
    add_action,
    generation_moved,
    refuse_other_columns,
    remove_action,
    unavailable,
)
from raypipe.adapters.lake.files import STREAMED, DataFile, WrittenFile, parquet_bytes
from raypipe.adapters.lake.log import KEPT
from raypipe.adapters.lake.store import Store
from raypipe.boundary import boundary
from raypipe.snapshot import Snapshot

_METADATA = "raypipe"
TURN = "turn"
"""Application id of the turns of a table."""
# Commits of one writer that are looked through before the whole log is.
_RECENT = 100
# Each further attempt means that another writer of the same table came between.
_ATTEMPTS = 10


class LakeTable:
    """One Delta table of the lake.

    Parameters
    ----------
    store
        Where the lake is.
    name
        Table name, such as `events/flights`; also its path below the lake.
    schema
        Columns, partition columns included.
    partition_by
        Columns that become directories.
    """

    def __init__(self, store: Store, name: str, schema: pa.Schema, partition_by: Sequence[str] = ()) -> None:
        self.store = store
        self.name = name
        self.schema = schema
        self.partition_by = list(partition_by)
        self.uri = store.lake(name)
        self._keeps = False
        self._kept: DeltaTable | None = None

    def generation(self, app_id: str) -> int:
        """Return the last committed generation of `app_id`, 0 when there is none."""
        table = self._open()
        with self._translated():
            return 0 if table is None else (table.transaction_version(app_id) or 0)

    def turn(self) -> int:
        """Return how many commits of this table took its turn; for `commit`, read before the rows are compared."""
        return self.generation(TURN)

    def standing(self, app_ids: Sequence[str] = (), version: int | None = None) -> Standing:
        """Return the version (the newest by default), its turn and its numbers of these application ids."""
        table = self._open(version)
        if table is None:
            return Standing(-1, 0, dict.fromkeys(app_ids, 0))
        with self._translated():
            numbers = {name: table.transaction_version(name) or 0 for name in (TURN, *app_ids)}
        return Standing(table.version(), numbers[TURN], numbers)

    def commit(
        self,
        files: Sequence[WrittenFile],
        *,
        app_id: str,
        generation: int,
        overwrite: bool = False,
        removed: Sequence[DataFile] = (),
        turn: int | None = None,
        positions: Mapping[str, int] | None = None,
        metadata: Mapping[str, object] | None = None,
        data_change: bool = True,
    ) -> int:
        """Make the files visible under `generation` in one atomic step, and return the version that has them.

        Parameters
        ----------
        overwrite
            Whether all other files leave the table, and its columns become ours.
        removed
            Files that leave the table in the same step; needs `turn`.
        turn
            What `turn()` was before the rows were compared with the table's: the commit holds only if no other that
            takes a turn came since, and takes the next.
        positions
            Further application ids and their numbers, such as offsets, kept in the same step; `generation` reads them.
        data_change
            Whether rows come or go; false where the same rows lie in other files afterwards.

        Raises
        ------
        GenerationMoved
            When the table is not at `generation - 1` for this `app_id`, or not at `turn`, or another writer wins the
            race; its `stream` says which of the two.
        """
        table = self._open() or self._create()
        if not overwrite:
            refuse_other_columns(self.name, table.schema(), self.schema)
        expected = {app_id: generation - 1} | ({} if turn is None else {TURN: turn})
        self._refuse_moved(table, expected)
        ours = uuid.uuid4().hex
        properties = CommitProperties(
            custom_metadata={_METADATA: json.dumps({"app_id": app_id, "commit": ours, **(metadata or {})})},
            app_transactions=[
                *(Transaction(name, number + 1) for name, number in expected.items()),
                *(Transaction(name, number) for name, number in (positions or {}).items()),
            ],
        )
        actions: list[AddAction | RemoveAction] = [add_action(f, data_change) for f in files]
        actions += [remove_action(f, self.uri, data_change) for f in removed]
        with boundary(f"commit {self.name}: {app_id} {generation}"), self._translated():
            for attempt in range(_ATTEMPTS):
                try:
                    table.create_write_transaction(
                        actions,
                        "overwrite" if overwrite else "append",
                        Schema.from_arrow(self.schema),
                        partition_by=self.partition_by,
                        commit_properties=properties,
                    )
                    table.update_incremental()
                    return int(table.version())
                except CommitFailedError as error:
                    if (version := self._version_of(app_id, ours)) is not None:
                        return version  # it succeeded, only the reply was lost, and then we came second to ourselves
                    # Somebody else's commit to the same table is no reason to give up; one of our generation is.
                    table = self._open() or self._create()
                    self._refuse_moved(table, expected, error)
                    if attempt == _ATTEMPTS - 1:
                        raise generation_moved(self.name, app_id, generation - 1, generation - 1) from error
        raise AssertionError("the last attempt returns or raises")

    def _refuse_moved(self, table: DeltaTable, expected: Mapping[str, int], cause: Exception | None = None) -> None:
        for name, number in expected.items():
            with self._translated():
                found = table.transaction_version(name) or 0
            if found != number:
                raise generation_moved(self.name, name, number, found) from cause

    def refuse_other_columns(self) -> None:
        """Return if rows of this schema can be appended to what is there.

        Raises
        ------
        ContractError
            When the table has other columns; naming them, and what to do.
        """
        if (table := self._open()) is not None:
            refuse_other_columns(self.name, table.schema(), self.schema)

    def append(
        self, rows: pa.Table, *, app_id: str, generation: int, metadata: Mapping[str, object] | None = None
    ) -> None:
        """Write `rows` as one file and commit it; for small tables written by the driver."""
        self.commit([self.write(rows)], app_id=app_id, generation=generation, metadata=metadata)

    def write(
        self, rows: pa.Table, partition: tuple[tuple[str, str | None], ...] = (), *, streamed: bool = False
    ) -> WrittenFile:
        """Write `rows` as one Parquet file that no reader sees yet, and describe it.

        Names are never reused, so an attempt that died leaves files that only a vacuum finds.
        """
        name = f"{STREAMED if streamed else ''}{uuid.uuid4().hex}.parquet"
        path = "/".join([*(f"{k}={v}" for k, v in partition), name])
        data = parquet_bytes(rows.select([f.name for f in self.schema if f.name not in self.partition_by]))
        self.store.write(f"{self.uri}/{path}", data)
        return WrittenFile(path, rows.num_rows, data.size, partition)

    def metadata(self, app_id: str) -> dict[str, object] | None:
        """Return the metadata of the last commit under `app_id`, None when there is none."""
        found = self._last(app_id)
        return found[1] if found else None

    def _version_of(self, app_id: str, commit: str) -> int | None:
        """Return the version that a commit made, None when it was not made."""
        found = self._last(app_id)
        return found[0] if found and found[1].get("commit") == commit else None

    def _last(self, app_id: str) -> tuple[int, dict[str, object]] | None:
        """Return version and metadata of the last commit under `app_id`."""
        if (table := self._open()) is None:
            return None
        for limit in (_RECENT, None):
            with self._translated():
                history = table.history(limit)
            for entry in history:
                recorded: dict[str, object] = json.loads(entry.get(_METADATA, "{}"))
                if recorded.get("app_id") == app_id:
                    return int(entry["version"]), recorded
        return None

    def files(self, version: int | None = None) -> tuple[DataFile, ...]:
        """Return the files of a version (the newest by default) in a fixed order."""
        if (table := self._open(version)) is None:
            return ()
        with self._translated():
            actions = pa.table(table.get_add_actions(flatten=True)).to_pylist()
        found = [
            DataFile(
                uri=f"{self.uri}/{a['path']}",
                rows=a["num_records"],
                size_bytes=a["size_bytes"],
                partition=tuple((c, _text(a[f"partition.{c}"])) for c in self.partition_by),
            )
            for a in actions
        ]
        return tuple(sorted(found, key=lambda f: f.uri))

    def read(
        self, columns: Sequence[str] | None = None, where: pc.Expression | None = None, version: int | None = None
    ) -> pa.Table:
        """Return rows of a version; an absent table has none."""
        table = self._open(version)
        if table is None:
            return self.schema.empty_table().select(list(columns or self.schema.names))
        with self._translated():
            return table.to_pyarrow_dataset().to_table(columns=list(columns or self.schema.names), filter=where)

    def snapshot(self, version: int | None = None) -> Snapshot:
        """Return the name, version, digest and row count of a version; an absent table is version -1."""
        table = self._open(version)
        files = self.files(version)
        lines = "\n".join(f"{f.uri.removeprefix(self.uri)} {f.size_bytes}" for f in files)
        digest = hashlib.sha256(lines.encode()).hexdigest()
        return Snapshot(self.name, -1 if table is None else table.version(), digest, sum(f.rows for f in files))

    def keep_log(self) -> None:
        """Let no checkpoint delete what is known of earlier versions, also where another version made the table."""
        table = self._open()
        if table is None or KEPT.items() <= table.metadata().configuration.items():
            return
        # Where another writer comes between, the next upkeep sets it.
        with boundary(f"keep log {self.name}"), self._translated(), contextlib.suppress(CommitFailedError):
            table.alter.set_table_properties(dict(KEPT))

    def kept_open(self) -> LakeTable:
        """Return this table, for one thread that asks often: what it knows of the log is kept and only added to."""
        self._keeps = True
        return self

    def _open(self, version: int | None = None) -> DeltaTable | None:
        with self._translated():
            if version is None and self._kept is not None:
                self._kept.update_incremental()
                return self._kept
            try:
                table = DeltaTable(self.uri, version=version, storage_options=self.store.delta_options())
            except TableNotFoundError:
                return None
            if version is None and self._keeps:
                self._kept = table
            return table

    def _create(self) -> DeltaTable:
        with self._translated(), contextlib.suppress(CommitFailedError):
            # It fails when another process creates it at the same instant; either way it is there afterwards.
            DeltaTable.create(
                self.uri,
                schema=self.schema,
                mode="ignore",
                partition_by=self.partition_by,
                configuration=KEPT,
                storage_options=self.store.delta_options(),
            )
        with self._translated():
            return DeltaTable(self.uri, storage_options=self.store.delta_options())

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (CommitFailedError, TableNotFoundError):
            raise
        except (OSError, DeltaError) as error:
            raise unavailable(self.name, self.store.address, error) from error


def _text(value: object) -> str | None:
    return None if value is None else str(value)
