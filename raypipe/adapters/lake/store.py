"""Objects in an S3-compatible store or a directory, behind one small interface.

A `Store` is picklable and holds no secret: workers read the secrets it names where they run. Foreign errors become
`Unavailable` or `AccessDenied` with the address and the next action. Knows objects; does not know tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from raypipe.adapters.lake import directory
from raypipe.adapters.lake.objects import StoredObject, changed
from raypipe.environment import StoreAddress
from raypipe.errors import AccessDenied, Unavailable

_DENIED = {
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "AccessDenied",
    "403",
    "ExpiredToken",
    "InvalidToken",
}
_MISSING = {"NoSuchKey", "404"}
_CHANGED = {"PreconditionFailed", "412"}
_MOST_DELETED = 1000  # S3 takes no more in one request


def split_s3(uri: str) -> tuple[str, str]:
    """Return bucket and key of an `s3://bucket/key` URI."""
    parts = urlsplit(uri)
    return parts.netloc, parts.path.lstrip("/")


class Store:
    """Objects by URI: `s3://bucket/key`, or a path of the local file system.

    Parameters
    ----------
    address
        Where the store is and how its secrets are named.

    Raises
    ------
    Unavailable
        From every method, when the store does not answer or the bucket does not exist.
    AccessDenied
        From every method, when the store refuses the credentials.
    FileNotFoundError
        From `read`, when the object does not exist.
    """

    def __init__(self, address: StoreAddress) -> None:
        self.address = address

    def __reduce__(self) -> tuple[Any, ...]:
        return Store, (self.address,)

    def __repr__(self) -> str:
        return f"Store({self.address.endpoint or self.address.lake})"

    def lake(self, *parts: str) -> str:
        """Return the URI of something in the lake."""
        return "/".join([self.address.lake.rstrip("/"), *parts])

    @cached_property
    def _s3(self) -> Any:
        a = self.address
        return boto3.client(
            "s3",
            endpoint_url=a.endpoint,
            region_name=a.region,
            aws_access_key_id=a.access_key.read() if a.access_key else None,
            aws_secret_access_key=a.secret_key.read() if a.secret_key else None,
            config=Config(
                retries={"mode": "standard", "max_attempts": 4},
                connect_timeout=3,
                read_timeout=60,
                s3={"addressing_style": "path"} if a.endpoint else {},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    @contextmanager
    def _translated(self, uri: str) -> Iterator[None]:
        where = self.address.endpoint or "AWS"
        try:
            yield
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code in _DENIED:
                raise AccessDenied(
                    f"the object store at {where} refuses these credentials for {uri} ({code}): check the keys "
                    "that `storage` names in the environment file",
                    system="s3",
                    address=where,
                ) from error
            if code == "NoSuchBucket":
                bucket, _ = split_s3(uri)
                raise Unavailable(
                    f"the bucket {bucket!r} does not exist at {where}: create it, or correct the URI {uri}",
                    system="s3",
                    address=where,
                ) from error
            if code in _MISSING:
                raise FileNotFoundError(uri) from error
            raise Unavailable(
                f"the object store at {where} failed on {uri}: {error}", system="s3", address=where
            ) from error
        except NoCredentialsError as error:
            raise AccessDenied(
                f"no credentials for the object store at {where}: name `access_key` and `secret_key` under `storage` "
                "in the environment file",
                system="s3",
                address=where,
            ) from error
        except FileNotFoundError:
            raise
        # Arrow knows a store that does not answer only as an OSError.
        except (BotoCoreError, OSError) as error:
            raise Unavailable(
                f"the object store at {where} does not answer ({error}): is it running? Locally, `raypipe up` starts "
                "it; nothing was lost, run again",
                system="s3",
                address=where,
            ) from error

    def read(self, uri: str, etag: str | None = None) -> bytes:
        """Return the object's bytes.

        Parameters
        ----------
        etag
            The version that is wanted, as a listing shows it.

        Raises
        ------
        ObjectChanged
            When the object is another version by now.
        """
        if not uri.startswith("s3://"):
            return directory.read(uri, etag)
        bucket, key = split_s3(uri)
        wanted = {} if etag is None else {"IfMatch": f'"{etag}"'}
        with self._translated(uri):
            try:
                body: bytes = self._s3.get_object(Bucket=bucket, Key=key, **wanted)["Body"].read()
            except ClientError as error:
                if str(error.response.get("Error", {}).get("Code")) in _CHANGED:
                    raise changed(uri, etag) from error
                raise
            return body

    def read_schema(self, uri: str) -> pa.Schema:
        """Return the columns of one Parquet file."""
        filesystem, path = self.filesystem(uri)
        with self._translated(uri):
            return pq.read_schema(path, filesystem=filesystem)

    def read_parquet(self, uri: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the rows of one Parquet file, all columns by default; directories in its path are none."""
        filesystem, path = self.filesystem(uri)
        wanted = None if columns is None else list(columns)
        with self._translated(uri):
            return pq.read_table(path, columns=wanted, filesystem=filesystem, partitioning=None)

    def write(self, uri: str, data: bytes | pa.Buffer) -> None:
        """Put the object; afterwards it exists whole."""
        if not uri.startswith("s3://"):
            directory.write(uri, data)
            return
        bucket, key = split_s3(uri)
        with self._translated(uri):
            body = data if isinstance(data, bytes) else data.to_pybytes()
            self._s3.put_object(Bucket=bucket, Key=key, Body=body)

    def exists(self, uri: str) -> bool:
        """Return whether the object exists."""
        if not uri.startswith("s3://"):
            return Path(uri).is_file()
        bucket, key = split_s3(uri)
        try:
            with self._translated(uri):
                self._s3.head_object(Bucket=bucket, Key=key)
        except FileNotFoundError:
            return False
        return True

    def remove(self, uris: Sequence[str]) -> None:
        """Delete these objects; one that is gone already is no error."""
        on_s3 = [split_s3(uri) for uri in uris if uri.startswith("s3://")]
        for bucket in sorted({bucket for bucket, _ in on_s3}):
            keys = [{"Key": key} for of, key in on_s3 if of == bucket]
            for start in range(0, len(keys), _MOST_DELETED):
                with self._translated(f"s3://{bucket}"):
                    part = {"Objects": keys[start : start + _MOST_DELETED], "Quiet": True}
                    refused = self._s3.delete_objects(Bucket=bucket, Delete=part).get("Errors", [])
                if refused:
                    raise AccessDenied(
                        f"the object store at {self.address.endpoint or 'AWS'} does not delete "
                        f"s3://{bucket}/{refused[0]['Key']} ({refused[0].get('Message')}): these keys may not delete",
                        system="s3",
                        address=self.address.endpoint or "AWS",
                    )
        directory.remove([uri for uri in uris if not uri.startswith("s3://")])

    def listing(self, uri: str, *, private: bool = False) -> list[StoredObject]:
        """Return the objects below a prefix or directory, in byte order of their URIs.

        Names that begin with a dot or an underscore are private to their writers and left out, unless `private`.
        """
        found = self._list_s3(uri) if uri.startswith("s3://") else directory.listing(uri)
        shown = [o for o in found if private or not o.uri.rsplit("/", 1)[-1].startswith((".", "_"))]
        return sorted(shown, key=lambda o: o.uri.encode())

    def _list_s3(self, uri: str) -> list[StoredObject]:
        bucket, prefix = split_s3(uri)
        with self._translated(uri):
            pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
            return [
                StoredObject(f"s3://{bucket}/{o['Key']}", o["ETag"].strip('"'), o["Size"], o["LastModified"])
                for page in pages
                for o in page.get("Contents", [])
                if not o["Key"].endswith("/")
            ]

    def ensure_bucket(self, uri: str) -> None:
        """Create the bucket or directory of `uri` unless it exists."""
        if not uri.startswith("s3://"):
            Path(uri).mkdir(parents=True, exist_ok=True)
            return
        bucket, _ = split_s3(uri)
        with self._translated(uri):
            try:
                self._s3.head_bucket(Bucket=bucket)
            except ClientError as error:
                if str(error.response.get("Error", {}).get("Code")) not in {"404", "NoSuchBucket"}:
                    raise
                self._s3.create_bucket(Bucket=bucket)

    def filesystem(self, uri: str) -> tuple[pafs.FileSystem, str]:
        """Return a pyarrow file system and the path of `uri` on it."""
        if not uri.startswith("s3://"):
            return pafs.LocalFileSystem(), uri
        return self._arrow_s3, uri.removeprefix("s3://")

    @cached_property
    def _arrow_s3(self) -> pafs.FileSystem:
        a = self.address
        plain = (a.endpoint or "").startswith("http://")
        return pafs.S3FileSystem(
            access_key=a.access_key.read() if a.access_key else None,
            secret_key=a.secret_key.read() if a.secret_key else None,
            region=a.region,
            endpoint_override=a.endpoint.split("://")[-1] if a.endpoint else None,
            scheme="http" if plain else "https",
        )

    def delta_options(self) -> dict[str, str]:
        """Return deltalake's `storage_options` for this store."""
        a = self.address
        if not a.lake.startswith("s3://"):
            return {}
        options = {"AWS_REGION": a.region}
        if a.endpoint:
            options |= {"AWS_ENDPOINT_URL": a.endpoint}
            if a.endpoint.startswith("http://"):
                options |= {"AWS_ALLOW_HTTP": "true"}
        if a.access_key and a.secret_key:
            options |= {
                "AWS_ACCESS_KEY_ID": a.access_key.read(),
                "AWS_SECRET_ACCESS_KEY": a.secret_key.read(),
            }
        # Conditional puts make the commit of a Delta log entry a compare-and-swap on S3.
        return options | {"aws_conditional_put": "etag"}
