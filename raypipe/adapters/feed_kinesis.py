"""A Kinesis data stream as a feed: every shard from a sequence number on, by plain requests.

A sequence number has up to 186 bits and the numbers of a commit have 63, so each is kept as four numbers, the highest
part first. Does not know what is in a record.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import boto3
import numpy as np
import pyarrow as pa
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError

from raypipe.adapters.feed import Messages
from raypipe.contracts.messages import Codec
from raypipe.errors import AccessDenied, ConfigError, Unavailable
from raypipe.telemetry import event

PARTS, PART_BITS = 4, 62
_LOOK_AGAIN_S = 30.0  # for shards that came when others were split
_READ_AGAIN_S = 0.25  # a shard answers at most 5 requests a second
_THROTTLED = {"ProvisionedThroughputExceededException", "LimitExceededException", "KMSThrottlingException"}
_DENIED = {
    "AccessDeniedException",
    "UnrecognizedClientException",
    "InvalidSignatureException",
    "IncompleteSignature",
    "ExpiredTokenException",
    "MissingAuthenticationTokenException",
}


def parts_of(sequence: int) -> list[int]:
    """Return a sequence number as numbers of `PART_BITS` bits, the highest part first.

    Examples
    --------
    >>> sequence = 49590338271490256608559692538361571095921575989136588898
    >>> whole_of(parts_of(sequence)) == sequence
    True
    """
    mask = (1 << PART_BITS) - 1
    return [(sequence >> (PART_BITS * (PARTS - 1 - i))) & mask for i in range(PARTS)]


def whole_of(parts: Sequence[int]) -> int:
    """Return the sequence number of these parts."""
    whole = 0
    for part in parts:
        whole = (whole << PART_BITS) | part
    return whole


class KinesisFeed:
    """Fulfils `Feed`.

    Parameters
    ----------
    source
        Names the numbers: `stream/<source>/<stream>/<shard>#0` to `#3`.
    """

    def __init__(self, source: str, stream: str, region: str | None, endpoint: str | None, codec: Codec) -> None:
        self.name = f"kinesis://{stream}"
        self.codec = codec
        self._prefix, self._stream, self._where = f"stream/{source}/{stream}/", stream, endpoint or "AWS"
        self._next: dict[str, int] = {}
        self._iterators: dict[str, str | None] = {}
        self._behind_ms: dict[str, int] = {}
        self._ready_at: dict[str, float] = {}
        self._looked_at = 0.0
        try:
            self._client: Any = boto3.client(
                "kinesis",
                region_name=region,
                endpoint_url=endpoint,
                config=Config(retries={"mode": "standard", "max_attempts": 3}, connect_timeout=3, read_timeout=30),
            )
        except NoRegionError as error:
            raise ConfigError(
                f"the feed of stream `{stream}` needs a region: add `region` to it", key=stream
            ) from error

    def names(self) -> Sequence[str]:
        """Return four names for each shard."""
        return [name for shard in self._shards() for name in self._names(shard)]

    def seek(self, positions: Mapping[str, int]) -> None:
        """Read from behind these sequence numbers on."""
        shards = sorted({name.removeprefix(self._prefix).rpartition("#")[0] for name in positions})
        self._next = {s: whole_of([positions[n] for n in self._names(s)]) for s in shards}
        self._looked_at = time.monotonic()
        self._iterators, self._behind_ms, self._ready_at = {}, {}, {}

    def poll(self, most: int, wait_s: float) -> Messages:
        """Return what the shards have that may be asked again."""
        if time.monotonic() - self._looked_at > _LOOK_AGAIN_S:
            self._take_up_new_shards()
        read: list[Messages] = []
        left = most
        for shard in self._next:
            if left > 0 and time.monotonic() >= self._ready_at.get(shard, 0.0):
                read.append(self._read(shard, min(left, 10_000)))
                left -= len(read[-1].values)
        if left == most:
            time.sleep(wait_s)
        return Messages.joined(read)

    @property
    def exhausted(self) -> bool:
        """Whether every shard said that nothing newer is there."""
        return all(self._behind_ms.get(shard) == 0 for shard in self._next)

    def lag(self) -> Mapping[str, int]:
        """Return the milliseconds that each shard is behind, as Kinesis said with the last answer."""
        return {f"{self._stream}/{shard}": behind for shard, behind in self._behind_ms.items()}

    def close(self) -> None:
        """Leave the service."""
        self._client.close()

    def _names(self, shard: str) -> list[str]:
        return [f"{self._prefix}{shard}#{i}" for i in range(PARTS)]

    def _shards(self) -> list[str]:
        with self._translated():
            pages = self._client.get_paginator("list_shards").paginate(StreamName=self._stream)
            return sorted(s["ShardId"] for page in pages for s in page["Shards"])

    def _take_up_new_shards(self) -> None:
        self._looked_at = time.monotonic()
        added = [s for s in self._shards() if s not in self._next]
        if added:
            event("stream", f"{self.name} has new shards: {', '.join(added)}")
            self._next |= dict.fromkeys(added, 0)

    def _read(self, shard: str, most: int) -> Messages:
        iterator = self._iterator(shard)
        self._ready_at[shard] = time.monotonic() + _READ_AGAIN_S
        if iterator is None:  # the shard was split or merged, and all of it was read
            self._behind_ms[shard] = 0
            self._ready_at[shard] = float("inf")
            return Messages()
        try:
            with self._translated():
                answer = self._client.get_records(ShardIterator=iterator, Limit=most)
        except _ExpiredIterator:
            del self._iterators[shard]
            return Messages()
        except _Throttled:
            return Messages()
        self._iterators[shard] = answer.get("NextShardIterator")
        self._behind_ms[shard] = int(answer.get("MillisBehindLatest", 0))
        return self._messages(shard, answer["Records"])

    def _messages(self, shard: str, records: Sequence[Mapping[str, Any]]) -> Messages:
        if not records:
            return Messages()
        sequences = [r["SequenceNumber"] for r in records]
        self._next[shard] = int(sequences[-1])
        return Messages(
            [bytes(r["Data"]) for r in records],
            pa.array([f"{self.name}/{shard}#{s}" for s in sequences], pa.string()),
            np.array([int(r["ApproximateArrivalTimestamp"].timestamp() * 1000) for r in records], np.int64),
            dict(zip(self._names(shard), parts_of(self._next[shard]), strict=True)),
        )

    def _iterator(self, shard: str) -> str | None:
        if shard not in self._iterators:
            at = self._next[shard]
            begin: dict[str, str] = {"ShardIteratorType": "TRIM_HORIZON"}
            if at:
                begin = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": str(at)}
            with self._translated():
                answer = self._client.get_shard_iterator(StreamName=self._stream, ShardId=shard, **begin)
            self._iterators[shard] = answer["ShardIterator"]
        return self._iterators[shard]

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            raise self._error(str(error.response.get("Error", {}).get("Code", "")), error) from error
        except NoCredentialsError as error:
            raise self._denied("no credentials") from error
        except BotoCoreError as error:
            raise self._unavailable(f"does not answer ({error}): is it running?") from error

    def _error(self, code: str, error: ClientError) -> Exception:
        if code == "ExpiredIteratorException":
            return _ExpiredIterator()
        if code in _THROTTLED:
            return _Throttled()
        if code in _DENIED:
            return self._denied(code)
        if code == "ResourceNotFoundException":
            return self._unavailable(f"has no stream `{self._stream}`: create it, or correct the feed's `stream`")
        return self._unavailable(f"failed on `{self._stream}`: {error}")

    def _denied(self, why: str) -> AccessDenied:
        return AccessDenied(
            f"Kinesis at {self._where} refuses us ({why}): give the process AWS credentials that may read "
            f"`{self._stream}` (environment, profile or role)",
            system="Kinesis",
            address=self._where,
        )

    def _unavailable(self, why: str) -> Unavailable:
        return Unavailable(f"Kinesis at {self._where} {why}", system="Kinesis", address=self._where)


class _ExpiredIterator(Exception):
    """An iterator is five minutes old; another begins where it stood."""


class _Throttled(Exception):
    """The shard was asked too often."""
