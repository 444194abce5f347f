"""Every call that leaves something behind stands inside `with boundary(...)`."""

import ast
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "raypipe"
# What outlives the process, by the name of the call that does it. Files that no reader sees are not among them.
EFFECTS = {
    "create_write_transaction",
    "create_model_version",
    "set_registered_model_alias",
    "log_model",
    "set_terminated",
    "_control.apply",
    "_store.write",
    "_store.remove",
    "set_table_properties",
}
# Ends a run as failed: no later run looks at it.
EXEMPT = {("registry_mlflow.py", "fail")}


def effects_in(tree, name):
    """Yield (line, call, whether a boundary stands around it) of every effect."""

    def walk(node, function, guarded):
        if isinstance(node, ast.FunctionDef):
            function = node.name
        if isinstance(node, ast.With):
            calls = [i.context_expr.func for i in node.items if isinstance(i.context_expr, ast.Call)]
            guarded = guarded or any(isinstance(c, ast.Name) and c.id == "boundary" for c in calls)
        called = f".{ast.unparse(node.func)}" if isinstance(node, ast.Call) else ""
        for effect in EFFECTS:
            if called.endswith(f".{effect}") and (name, function) not in EXEMPT:
                yield node.lineno, effect, guarded
        for child in ast.iter_child_nodes(node):
            yield from walk(child, function, guarded)

    yield from walk(tree, "", False)


def test_every_effect_stands_inside_a_boundary():
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for line, call, guarded in effects_in(ast.parse(path.read_text()), path.name):
            assert guarded, f"{path.name}:{line}: {call} outlives the process and no boundary names it"
            found[call] = path.name
    assert found.keys() == EFFECTS, "an effect of the list is called nowhere: the list is out of date"


def test_an_effect_outside_a_boundary_is_found():
    tree = ast.parse("def commit(table):\n    table.create_write_transaction([])\n")
    assert [guarded for *_, guarded in effects_in(tree, "x.py")] == [False]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_process_stops_at_the_boundary_it_is_told(tmp_path, moment):
    code = (
        "from pathlib import Path; from raypipe.boundary import boundary\n"
        "with boundary('x: 1'): Path('done').touch()\nPath('beyond').touch()"
    )
    trace = tmp_path / "trace"
    variables = {"RAYPIPE_STOP_AT": f"{moment} x: 1", "RAYPIPE_BOUNDARIES": str(trace)}
    child = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, **variables})
    _, status = os.waitpid(child.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    child.send_signal(signal.SIGKILL)
    child.wait(10)
    assert (tmp_path / "done").exists() == (moment == "after")
    assert not (tmp_path / "beyond").exists()
    assert trace.read_text().splitlines()[-1] == f"{moment} x: 1"
