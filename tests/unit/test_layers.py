"""The contracts of `.importlinter` hold, and they can be broken: a planted import turns them red."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "raypipe", tmp_path / "raypipe", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".importlinter", tmp_path)
    return tmp_path


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    env = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=False)


def plant(file: Path, line: str) -> None:
    text = file.read_text()
    marker = "from __future__ import annotations\n"
    assert marker in text
    file.write_text(text.replace(marker, f"{marker}\n{line}\n", 1))


def test_the_package_as_it_is_keeps_every_contract(copied: Path):
    result = lint(copied)
    assert broken(result) == [], result.stdout
    assert " 0 broken" in result.stdout


def broken(result: subprocess.CompletedProcess[str]) -> list[str]:
    # Behind the word may stand how many imports a contract ignores.
    rows = [row.partition(" BROKEN") for row in result.stdout.splitlines() if " BROKEN" in row]
    assert result.returncode == (1 if rows else 0), result.stdout
    return [name for name, _, _ in rows]


def test_a_pure_module_that_imports_ray_breaks_the_contract_of_the_core(copied: Path):
    plant(copied / "raypipe" / "contracts" / "gate.py", "import ray")
    assert broken(lint(copied)) == ["The core is pure", "Dead letters need no cluster"]


def test_an_import_that_points_upwards_or_sideways_breaks_the_contract_that_forbids_it(copied: Path):
    plant(copied / "raypipe" / "contracts" / "gate.py", "import raypipe.train")
    plant(copied / "raypipe" / "adapters" / "train_ray.py", "import raypipe.adapters.registry_mlflow")
    plant(copied / "raypipe" / "adapters" / "lake" / "store.py", "import raypipe.adapters.pyfunc")
    names = broken(lint(copied))
    assert "Imports point one way" in names
    assert any(name.startswith("Adapters know the lake") for name in names)


def test_another_module_than_that_of_sql_does_not_import_duckdb(copied: Path):
    plant(copied / "raypipe" / "adapters" / "ingest_rules.py", "import duckdb")
    assert broken(lint(copied)) == ["One module knows DuckDB"]
