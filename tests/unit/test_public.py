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
        "import sys, raypipe; from raypipe.cli import build\n"
        "try: build(['--help'])(['--help'])\n"
        f"except SystemExit as end: print(end.code, sorted(set({HEAVY}) & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.splitlines()[-1] == "0 []"
    assert "Usage: " in said.stdout


def test_a_command_ends_with_its_own_exit_code_whatever_is_still_running():
    code = (
        "import sys, threading; from raypipe.cli import main\n"
        "threading.Thread(target=threading.Event().wait).start()\n"
        "sys.argv = ['raypipe', 'contract', 'lint', 'nowhere.odcs.yaml']\n"
        "main()\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr.startswith("nowhere.odcs.yaml: the contract cannot be read")
