"""What `import raypipe` gives, and what it costs."""

from __future__ import annotations

import subprocess
import sys

import raypipe

HEAVY = ("ray", "torch", "mlflow", "pyarrow", "boto3", "deltalake", "polars")


def test_all_is_what_is_exported():
    named = {name: vars(raypipe).get(name) for name in raypipe.__all__}
    assert None not in named.values()
    submodules = {name for name in vars(raypipe) if f"raypipe.{name}" in sys.modules}
    dunders = {name for name in vars(raypipe) if name.startswith("__")}
    assert set(vars(raypipe)) - submodules - (dunders - {"__version__"}) == set(raypipe.__all__)
    assert raypipe.__all__ == sorted(raypipe.__all__)


def test_help_and_import_need_no_heavy_library():
    code = (
        "import sys, raypipe; from raypipe.cli import main\n"
        "sys.argv = ['raypipe', '--help']\n"
        "try: main()\n"
        f"except SystemExit as end: print(end.code, sorted(set({HEAVY}) & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.splitlines()[-1] == "0 []"
    assert "Usage: " in said.stdout
