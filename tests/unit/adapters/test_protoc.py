"""A .proto file is read by Protobuf's compiler, or refused with its words."""

import sys

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from raypipe.adapters.protoc import compile_proto
from raypipe.errors import ConfigError


def test_a_file_is_compiled_with_what_stands_beside_it_and_its_comments(tmp_path):
    (tmp_path / "site.proto").write_text('syntax = "proto3"; message Site { string name = 1; }')
    file = tmp_path / "reading.proto"
    file.write_text(
        'syntax = "proto3"; import "site.proto"; import "google/type/date.proto";\n'
        "// A reading.\nmessage Reading { Site site = 1; google.type.Date day = 2; }"
    )
    found = FileDescriptorSet.FromString(compile_proto(file)).file
    assert [f.name for f in found] == ["site.proto", "google/type/date.proto", "reading.proto"]
    assert " A reading.\n" in [place.leading_comments for place in found[-1].source_code_info.location]


def test_what_the_compiler_refuses_is_said_with_its_line(tmp_path):
    file = tmp_path / "reading.proto"
    file.write_text('syntax = "proto3";\nmessage R {\n  strin a = 1;\n}\n')
    with pytest.raises(ConfigError, match="Protobuf's compiler refuses this") as caught:
        compile_proto(file)
    assert caught.value.line == 3
    assert '"strin" is not defined' in caught.value.message


def test_an_import_that_is_missing_is_named(tmp_path):
    file = tmp_path / "reading.proto"
    file.write_text('syntax = "proto3";\nimport "nowhere.proto";\n')
    with pytest.raises(ConfigError, match=r"nowhere\.proto"):
        compile_proto(file)


def test_without_the_compiler_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "grpc_tools", None)
    with pytest.raises(ConfigError, match=r"grpc_tools is not installed: `pip install 'raypipe\[protobuf\]'`"):
        compile_proto(tmp_path / "reading.proto")
