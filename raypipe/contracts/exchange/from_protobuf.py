"""A Protobuf message as columns of a contract.

Reads the descriptors that Protobuf's own compiler makes of a file. Knows Protobuf's types; what is nested is no column.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet

from raypipe.contracts.described import Keys, Note, listed, mapped
from raypipe.contracts.exchange.carried import PROTOBUF_NUMBER, Outline, merged
from raypipe.contracts.exchange.to_protobuf import MARK
from raypipe.errors import ContractError

_MESSAGES, _FIELDS = 4, 2  # FileDescriptorProto.message_type and DescriptorProto.field, as paths count them
_F = FieldDescriptorProto
_UNSIGNED = (_F.TYPE_UINT64, _F.TYPE_FIXED64)
_SIGNED = (_F.TYPE_INT32, _F.TYPE_INT64, _F.TYPE_SINT32, _F.TYPE_SINT64, _F.TYPE_SFIXED32, _F.TYPE_SFIXED64)
_TYPES: dict[int, str] = {
    **dict.fromkeys((*_SIGNED, *_UNSIGNED, _F.TYPE_UINT32, _F.TYPE_FIXED32), "integer"),
    **dict.fromkeys((_F.TYPE_FLOAT, _F.TYPE_DOUBLE), "number"),
    _F.TYPE_STRING: "string",
    _F.TYPE_ENUM: "string",
    _F.TYPE_BOOL: "boolean",
}
_KNOWN = {
    ".google.protobuf.Timestamp": "timestamp",
    ".google.type.Date": "date",
    ".google.protobuf.StringValue": "string",
    ".google.protobuf.BoolValue": "boolean",
    **{f".google.protobuf.{n}Value": "integer" for n in ("Int32", "Int64", "UInt32", "UInt64")},
    **{f".google.protobuf.{n}Value": "number" for n in ("Float", "Double")},
}


def read_protobuf(descriptors: bytes, message: str | None, file: str) -> Outline:
    """Return what a message of a file says.

    Parameters
    ----------
    descriptors
        A `FileDescriptorSet` with comments, whose last file is the one.
    message
        Which message, where the file has several; a name that none has is taken for the contract's.
    file
        Name for messages.

    Raises
    ------
    ContractError
        When there is no one message, or a field is no scalar.
    """
    found = FileDescriptorSet.FromString(descriptors)
    own = found.file[-1]
    index = _chosen(own, message, file)
    kind, places = own.message_type[index], {tuple(p.path): p for p in own.source_code_info.location}
    description, carried = _said(places[_MESSAGES, index].leading_comments, f"{file}: `{kind.name}`")
    stand = [places[_MESSAGES, index, _FIELDS, i] for i in range(len(kind.field))]
    fields = [
        _Field(file, field, place.span[0] + 1, place.leading_comments)
        for field, place in zip(kind.field, stand, strict=True)
    ]
    enums = dict(_enums(found))
    notes = [*_of_message(kind, own), *(note for f in fields for note in f.notes())]
    columns = tuple(f.keys(enums) for f in fields)
    return Outline(kind.name, description, columns, carried, tuple(notes))


def _chosen(own: FileDescriptorProto, message: str | None, file: str) -> int:
    names = [m.name for m in own.message_type]
    if message in names:
        return names.index(message)
    if len(names) != 1:
        raise ContractError(
            f"{file}: there are {len(names)} messages ({', '.join(names) or 'none'}), and a contract is of one: "
            "say which by --name",
            file=file,
            line=None,
            key="",
        )
    return 0


def _enums(found: FileDescriptorSet) -> Iterator[tuple[str, list[str]]]:
    def inside(prefix: str, of: FileDescriptorProto | DescriptorProto) -> Iterator[tuple[str, list[str]]]:
        for enum in of.enum_type:
            yield f"{prefix}.{enum.name}", [value.name for value in enum.value]
        for message in of.message_type if isinstance(of, FileDescriptorProto) else of.nested_type:
            yield from inside(f"{prefix}.{message.name}", message)

    for file in found.file:
        yield from inside(f".{file.package}" if file.package else "", file)


def _said(comment: str, where: str) -> tuple[str | None, dict[str, object]]:
    """Return the words of a comment, and the keys of the standard that its line of JSON carries."""
    lines = [line.strip() for line in comment.split("\n")]
    words = " ".join(line for line in lines if line and not line.startswith(MARK))
    keys: dict[str, object] = {}
    for line in lines:
        if line.startswith(MARK):
            try:
                keys = mapped(json.loads(line.removeprefix(MARK)))
            except json.JSONDecodeError as error:
                raise ContractError(
                    f"{where}: what stands after `{MARK}` is not JSON: {error}", file=where, line=None, key=""
                ) from error
    return words or None, keys


def _of_message(kind: DescriptorProto, own: FileDescriptorProto) -> Iterator[Note]:
    if own.package:
        yield Note(kind.name, f"the package `{own.package}` is not taken over")
    if others := [m.name for m in own.message_type if m.name != kind.name]:
        yield Note(kind.name, f"other messages of the file are not taken over: {', '.join(others)}")
    synthetic = {f.oneof_index for f in kind.field if f.proto3_optional}
    for i, oneof in enumerate(kind.oneof_decl):
        if i not in synthetic:
            yield Note(kind.name, f"that only one column of `oneof {oneof.name}` is there is not taken over")
    reserved = [f"{r.start} to {r.end - 1}" if r.end - r.start > 1 else f"{r.start}" for r in kind.reserved_range]
    if reserved or kind.reserved_name:
        yield Note(kind.name, f"`reserved {', '.join([*reserved, *kind.reserved_name])}` is not taken over")


@dataclass(frozen=True, slots=True)
class _Field:
    """One field of the message, its line (from 1) and the comment before it."""

    file: str
    field: FieldDescriptorProto
    line: int
    comment: str

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}"

    def keys(self, enums: dict[str, list[str]]) -> Keys:
        field = self.field
        description, carried = _said(self.comment, self.where)
        native: dict[str, object] = {"name": field.name, "logicalType": self._logical()}
        # Where a comment cannot hold the description as it is, it is among the keys.
        if description is not None and "description" not in carried:
            native["description"] = description
        if field.type == _F.TYPE_ENUM:
            native["enum"] = [{"value": name} for name in enums[field.type_name]]
        if field.label == _F.LABEL_REQUIRED:
            native["required"] = True
        pin = {"property": PROTOBUF_NUMBER, "value": field.number}
        others = [c for c in listed(carried.pop("customProperties", None)) if c.get("property") != PROTOBUF_NUMBER]
        return merged({**native, "customProperties": [*others, pin]}, carried)

    def _logical(self) -> str:
        field = self.field
        logical = _KNOWN.get(field.type_name) or _TYPES.get(field.type)
        if logical is None or field.label == _F.LABEL_REPEATED:
            repeated = "repeated " if field.label == _F.LABEL_REPEATED else ""
            what = repeated + (
                field.type_name.removeprefix(".") or _F.Type.Name(field.type).removeprefix("TYPE_").lower()
            )
            raise ContractError(
                f"{self.where}: the field `{field.name}` is {what}, and a column of a contract has one scalar type: "
                "flatten it, or leave it out (raypipe drops what a contract does not have)",
                file=self.file,
                line=self.line,
                key=field.name,
            )
        return logical

    def notes(self) -> Iterator[Note]:
        field = self.field
        if field.type in _UNSIGNED or field.type_name == ".google.protobuf.UInt64Value":
            yield Note(
                self.where, f"`{field.name}`: a value above 2^63 - 1 is refused, an integer of a contract is signed"
            )
        if field.type == _F.TYPE_ENUM:
            yield Note(
                self.where, f"`{field.name}`: the numbers of the enum are not taken over, its names are the values"
            )
        if field.default_value:
            yield Note(self.where, f"`{field.name}`: the default {field.default_value} is not taken over")
        if options := [option.name for option, _ in field.options.ListFields()]:
            yield Note(self.where, f"`{field.name}`: {', '.join(f'`{o}`' for o in options)} is not taken over")
