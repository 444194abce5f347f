"""User code travels as text, and two versions of one package live side by side."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from raypipe.errors import ConfigError
from raypipe.training.code import CodePackage, load


def write(root: Path, factor: int) -> None:
    package = root / "my_package"
    (package / "deep").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "numbers.py").write_text(f"FACTOR = {factor}\n")
    (package / "deep" / "__init__.py").write_text("from ..numbers import FACTOR as RELATIVE\n")
    (package / "model.py").write_text(
        "import math\n"
        "import my_package.numbers\n"
        "from my_package import deep\n"
        "from my_package.numbers import FACTOR\n"
        "def build(inputs, **parameters):\n"
        "    from my_package.numbers import FACTOR as LATE\n"
        "    return inputs * FACTOR, my_package.numbers.FACTOR, deep.RELATIVE, LATE, math.floor(1.5), parameters\n"
    )


def test_two_versions_of_a_package_live_in_one_process(tmp_path: Path) -> None:
    for name, factor in (("one", 3), ("two", 5)):
        write(tmp_path / name, factor)
    path, before = list(sys.path), set(sys.modules)
    one, two = (load(CodePackage.of("my_package.model:build", tmp_path / name)) for name in ("one", "two"))
    assert one(2, depth=1) == (6, 3, 3, 3, 1, {"depth": 1})
    assert two(2) == (10, 5, 5, 5, 1, {})
    assert sys.path == path
    assert all(name.startswith("raypipe_code_") for name in set(sys.modules) - before)


def test_a_package_that_is_installed_under_the_same_name_is_not_taken(tmp_path: Path) -> None:
    package = tmp_path / "yaml"
    package.mkdir()
    (package / "__init__.py").write_text("MINE = 1\n")
    (package / "model.py").write_text("from yaml import MINE\ndef build(inputs):\n    return MINE\n")
    assert load(CodePackage.of("yaml.model:build", tmp_path))(1) == 1


def test_a_single_module_is_a_package_too(tmp_path: Path) -> None:
    (tmp_path / "alone.py").write_text("def build(inputs):\n    return inputs\n")
    code = CodePackage.of("alone:build", tmp_path)
    assert [path for path, _ in code.files] == ["alone.py"]
    assert load(code)(7) == 7


def test_the_digest_changes_with_any_file_and_not_with_the_place(tmp_path: Path) -> None:
    for name, factor in (("one", 3), ("again", 3), ("two", 5)):
        write(tmp_path / name, factor)
    one, again, two = (CodePackage.of("my_package.model:build", tmp_path / n).digest for n in ("one", "again", "two"))
    assert one == again != two


@pytest.mark.parametrize(
    ("entrypoint", "said"),
    [("absent.model:build", "absent/__init__.py"), ("my_package.absent:build", "my_package/model.py")],
)
def test_code_that_is_not_there_is_said_with_what_is(tmp_path: Path, entrypoint: str, said: str) -> None:
    write(tmp_path, 1)
    with pytest.raises(ConfigError, match=said):
        CodePackage.of(entrypoint, tmp_path)


def test_a_module_without_the_function_is_refused(tmp_path: Path) -> None:
    write(tmp_path, 1)
    with pytest.raises(ConfigError, match="no function 'absent'"):
        load(CodePackage.of("my_package.model:absent", tmp_path))
