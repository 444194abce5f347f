"""A model as files that anyone can verify before anything in them is parsed or run. No pickle anywhere.

    bundle.json          what the model is and where it came from, with the sha256 of every other file
    weights.safetensors  tensors by name
    profile.json         what the training rows looked like
    example.json         a few rows of input
    code/**.py           source of the user's own model, where it has one

The bundle's digest is the sha256 of `bundle.json`, so it fixes every byte. Knows bytes and digests; does not know where
files are kept, and does not score.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from raypipe.columns import Column
from raypipe.errors import BundleRefused
from raypipe.features.transforms import TransformState
from raypipe.profile import Profile
from raypipe.snapshot import Snapshot
from raypipe.spec import Spec
from raypipe.training.code import CodePackage
from raypipe.training.spec import ModelSpec

__all__ = ["MANIFEST", "Bundle", "Column", "Lineage", "digest_of", "load_bundle", "load_lineage", "pack", "unpack"]

MANIFEST = "bundle.json"
_WEIGHTS, _PROFILE, _EXAMPLE, _CODE = "weights.safetensors", "profile.json", "example.json", "code/"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Lineage:
    """What a model was made from: enough to make it again.

    Parameters
    ----------
    snapshots
        Versions of the tables it came from.
    contracts
        (name, version, sha256) of each source's contract.
    code_digest, config_digest
        sha256 of the source and of the pipeline file as resolved.
    inputs_digest
        sha256 over everything that determines the model.
    seed
        Of weights, dropout and row order.
    environment
        (package, version) of what trained it.
    """

    snapshots: tuple[Snapshot, ...]
    contracts: tuple[tuple[str, str, str], ...]
    code_digest: str
    config_digest: str
    inputs_digest: str
    seed: int
    environment: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """A trained model with everything that scoring it takes.

    Parameters
    ----------
    name
        Of the model.
    columns
        Its inputs, in order.
    label
        Name of what it predicts the probability of.
    architecture
        How the torch module is built.
    transforms
        From columns to the module's matrix.
    profile
        Of the training rows, to compare live rows with; of the scores on the validation rows under `profile.SCORE`.
    weights
        The module's state by name.
    example
        A few rows of `columns`.
    lineage
        What it was made from.
    code
        The user's source, where `architecture` names an entrypoint.
    threshold
        Scores of at least this are called positive, 0..1.
    """

    name: str
    columns: tuple[Column, ...]
    label: str
    architecture: ModelSpec
    transforms: TransformState
    profile: Profile
    weights: Mapping[str, np.ndarray]
    example: pa.Table
    lineage: Lineage
    code: CodePackage | None = None
    threshold: float = 0.5


class _Manifest(Spec):
    format: Literal[1]
    name: str
    columns: tuple[Column, ...]
    label: str
    architecture: ModelSpec
    transforms: TransformState
    threshold: float
    lineage: Lineage
    entrypoint: str | None
    files: dict[str, str] = Field(min_length=3)


def digest_of(files: Mapping[str, bytes]) -> str:
    """Return the digest of a packed bundle, 64 hex characters."""
    return _sha256(files[MANIFEST])


def pack(bundle: Bundle) -> dict[str, bytes]:
    """Return the bundle's files by name."""
    weights = {name: np.ascontiguousarray(value) for name, value in bundle.weights.items()}
    example = bundle.example.select([c.name for c in bundle.columns]).cast(_schema(bundle.columns))
    files = {
        _WEIGHTS: save_tensors(weights),
        _PROFILE: bundle.profile.to_json().encode(),
        _EXAMPLE: _canonical({c.name: _plain(example.column(c.name), c) for c in bundle.columns}),
    }
    files |= {f"{_CODE}{path}": text.encode() for path, text in (bundle.code.files if bundle.code else ())}
    manifest = _Manifest(
        format=_FORMAT,
        name=bundle.name,
        columns=bundle.columns,
        label=bundle.label,
        architecture=bundle.architecture,
        transforms=bundle.transforms,
        threshold=bundle.threshold,
        lineage=bundle.lineage,
        entrypoint=bundle.code.entrypoint if bundle.code else None,
        files={name: _sha256(data) for name, data in files.items()},
    )
    return {MANIFEST: _canonical(manifest.model_dump(mode="json")), **files}


def unpack(files: Mapping[str, bytes], digest: str) -> Bundle:
    """Return the bundle in these files, each of which was found to be what `digest` fixes before it was parsed.

    Raises
    ------
    BundleRefused
        When a file is missing or its bytes are others, or the format is not known. Attributes: `file`, `digest`.
    """

    def read(name: str) -> bytes:
        if name not in files:
            raise FileNotFoundError(name)
        return files[name]

    return _read_bundle(read, digest)


def load_bundle(read: Callable[[str], bytes], uri: str, digest: str) -> Bundle:
    """Return the bundle below `uri`, verified as by `unpack`.

    Parameters
    ----------
    read
        Returns an object's bytes, or raises FileNotFoundError.

    Raises
    ------
    BundleRefused
        As `unpack`; and whatever `read` raises when the store does not answer.
    """
    return _read_bundle(lambda name: read(f"{uri.rstrip('/')}/{name}"), digest)


def load_lineage(read: Callable[[str], bytes], uri: str, digest: str) -> Lineage:
    """Return what the bundle below `uri` was made from; of its files only the manifest is read, and verified.

    Raises
    ------
    BundleRefused
        As `unpack`; and whatever `read` raises when the store does not answer.
    """
    return _read_manifest(_verified(lambda name: read(f"{uri.rstrip('/')}/{name}"), MANIFEST, digest), digest).lineage


def _read_bundle(read: Callable[[str], bytes], digest: str) -> Bundle:
    manifest = _read_manifest(_verified(read, MANIFEST, digest), digest)
    files = {name: _verified(read, name, expected) for name, expected in manifest.files.items()}
    try:
        weights = load_tensors(files[_WEIGHTS])
        profile = Profile.from_json(files[_PROFILE])
        example = _read_example(files[_EXAMPLE], manifest.columns)
    except (KeyError, ValueError, TypeError, SafetensorError, pa.ArrowException) as error:
        raise BundleRefused(
            f"bundle {digest[:12]} has the promised bytes, but they cannot be read ({error}): train it again",
            digest=digest,
            file=MANIFEST,
        ) from error
    code = None
    if manifest.entrypoint is not None:
        sources = sorted(name for name in files if name.startswith(_CODE))
        texts = tuple((name.removeprefix(_CODE), files[name].decode()) for name in sources)
        code = CodePackage(manifest.entrypoint, texts)
    return Bundle(
        name=manifest.name,
        columns=manifest.columns,
        label=manifest.label,
        architecture=manifest.architecture,
        transforms=manifest.transforms,
        profile=profile,
        weights=weights,
        example=example,
        lineage=manifest.lineage,
        code=code,
        threshold=manifest.threshold,
    )


def _verified(read: Callable[[str], bytes], name: str, expected: str) -> bytes:
    try:
        data = read(name)
    except FileNotFoundError as error:
        raise BundleRefused(
            f"bundle file {name} is missing, expected one with sha256 {expected}: copy the bundle again",
            digest=expected,
            file=name,
        ) from error
    if (found := _sha256(data)) != expected:
        raise BundleRefused(
            f"bundle file {name} has sha256 {found}, expected {expected}: somebody changed it or a copy was cut short; "
            "copy the bundle again, and do not load this one",
            digest=expected,
            file=name,
            found=found,
        )
    return data


def _read_manifest(data: bytes, digest: str) -> _Manifest:
    try:
        fields = json.loads(data)
        version = fields.get("format") if isinstance(fields, dict) else None
        if version != _FORMAT:
            raise BundleRefused(
                f"bundle {digest[:12]} has format {version!r}, this raypipe reads {_FORMAT}: "
                "run the raypipe that wrote it, or train again",
                digest=digest,
                file=MANIFEST,
            )
        manifest = _Manifest.model_validate(fields)
    except (ValidationError, ValueError) as error:
        raise BundleRefused(
            f"bundle {digest[:12]} has the promised bytes, but {MANIFEST} cannot be read ({error}): train it again",
            digest=digest,
            file=MANIFEST,
        ) from error
    for name in manifest.files:
        if name.startswith("/") or ".." in name.split("/"):
            raise BundleRefused(
                f"bundle {digest[:12]} names the file {name!r} outside itself: do not load it", digest=digest, file=name
            )
    return manifest


def _read_example(data: bytes, columns: tuple[Column, ...]) -> pa.Table:
    values = json.loads(data)
    schema = _schema(columns)
    arrays = [
        pa.array(values[c.name], pa.string() if c.type == "timestamp" else c.arrow).cast(c.arrow) for c in columns
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _plain(values: pa.ChunkedArray[Any], column: Column) -> list[object]:
    if column.type == "timestamp":
        return [None if t is None else t.isoformat().replace("+00:00", "Z") for t in values.to_pylist()]
    # JSON has no NaN, and to a model NaN and null are the same: missing.
    return [None if isinstance(v, float) and not np.isfinite(v) else v for v in values.to_pylist()]


def _schema(columns: tuple[Column, ...]) -> pa.Schema:
    return pa.schema([(c.name, c.arrow) for c in columns])


def _canonical(value: object) -> bytes:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
