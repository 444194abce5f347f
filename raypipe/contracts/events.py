"""What every accepted row gets on its way into the lake: an identity and two times.

Knows the lake's columns. Does not know the lake.
"""

from __future__ import annotations

from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from raypipe.contracts.contract import TIMESTAMP, Contract

ADDED = pa.schema({"event_id": pa.string(), "event_at": TIMESTAMP, "known_at": TIMESTAMP, "event_date": pa.date32()})
"""Columns that `event_columns` adds, unless the contract has one of that name and meaning."""


def event_ids(table: pa.Table, contract: Contract) -> pa.Array:
    r"""Return the identity of each row: its key values joined by `|`.

    Times are ISO 8601 in UTC, with microseconds only where there are any; a `|` or `\` inside a value has a `\`
    before it, so that two keys never meet in one text.

    Parameters
    ----------
    table
        Rows that a check accepted.
    contract
        Names the key.

    Examples
    --------
    >>> from raypipe.contracts.contract import Field
    >>> fields = (Field("carrier", pa.string(), required=True), Field("at", TIMESTAMP, required=True))
    >>> contract = Contract("flights", "1", fields, ("carrier", "at"), "at")
    >>> at = pa.array(["2013-01-01T10:15:00Z"]).cast(TIMESTAMP)
    >>> event_ids(pa.table({"carrier": ["U|A"], "at": at}), contract).to_pylist()
    ['U\\|A|2013-01-01T10:15:00Z']
    """
    texts = [_text(_whole(table[name])) for name in contract.key]
    if len(texts) == 1:
        return texts[0]
    joined: pa.Array = pc.binary_join_element_wise(*texts, pa.scalar("|"))
    return joined


def event_columns(accepted: pa.Table, contract: Contract, known_at_default: datetime) -> pa.Table:
    """Return the rows with `event_id`, `event_at`, `known_at` and `event_date` (of `event_at`, in UTC).

    Parameters
    ----------
    accepted
        Rows that a check accepted.
    contract
        Says which columns are the two clocks.
    known_at_default
        When the object became visible (aware); used where the contract names no `known_at`.
    """
    event_at = accepted[contract.event_at]
    if contract.known_at is None:
        known_at = pa.repeat(pa.scalar(known_at_default, TIMESTAMP), accepted.num_rows)
    else:
        known_at = accepted[contract.known_at]
    added = {
        "event_id": event_ids(accepted, contract),
        "event_at": event_at,
        "known_at": known_at,
        "event_date": event_at.cast(pa.date32()),
    }
    for name, column in added.items():
        if name not in accepted.column_names:
            accepted = accepted.append_column(pa.field(name, ADDED.field(name).type), column)
    return accepted


def _whole(column: pa.ChunkedArray) -> pa.Array:
    whole = column.combine_chunks()
    return whole if isinstance(whole, pa.Array) else whole.chunk(0)


def _text(column: pa.Array) -> pa.Array:
    if pa.types.is_timestamp(column.type):
        return _iso(column)
    if not pa.types.is_string(column.type):
        return column.cast(pa.string())
    escaped = pc.replace_substring(column, "\\", "\\\\")
    return pc.replace_substring(escaped, "|", "\\|")


def _iso(column: pa.Array) -> pa.Array:
    # Casting a time without a zone to text is 20 times faster than formatting one with a zone; the value is UTC already.
    local = column.cast(pa.int64()).cast(pa.timestamp("us"))
    seconds = pc.floor_temporal(local, unit="second")
    text = seconds.cast(pa.timestamp("s")).cast(pa.string())
    fraction = pc.not_equal(local, seconds)
    if pc.any(fraction).as_py():
        text = pc.if_else(fraction, local.cast(pa.string()), text)
    return pc.binary_join_element_wise(pc.binary_replace_slice(text, 10, 11, "T"), "Z", "")
