"""The user's model code as data: source text that travels with a bundle and is imported under its digest.

Two versions of one package can live in one process, and neither touches `sys.path`. Knows source files and Python's
import system; does not know what the code computes. Whoever calls `load` runs the code: verify its digest first.
"""

from __future__ import annotations

import builtins
import hashlib
import importlib
import importlib.machinery
import importlib.util
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from raypipe.errors import ConfigError

_PREFIX = "raypipe_code_"


@dataclass(frozen=True, slots=True)
class CodePackage:
    """The source of one Python package or module, and the function in it that builds the model.

    Parameters
    ----------
    entrypoint
        `package.module:function`.
    files
        (path relative to the package's parent with `/`, source text), in order of path.
    """

    entrypoint: str
    files: tuple[tuple[str, str], ...]

    @staticmethod
    def of(entrypoint: str, root: Path) -> CodePackage:
        """Return the source below `root` of the top package (or module) that `entrypoint` names.

        Raises
        ------
        ConfigError
            When `root` has neither such a package nor such a module, or the module lacks the function.
        """
        module = entrypoint.partition(":")[0]
        top = module.split(".")[0]
        if (root / top / "__init__.py").is_file():
            paths = sorted(p for p in (root / top).rglob("*.py") if "__pycache__" not in p.parts)
        elif (root / f"{top}.py").is_file():
            paths = [root / f"{top}.py"]
        else:
            raise ConfigError(
                f"`entrypoint: {entrypoint}` names the package {top!r}, but {root} has neither {top}/__init__.py "
                f"nor {top}.py: put it beside the pipeline file, or correct the entrypoint",
                key="entrypoint",
            )
        code = CodePackage(entrypoint, tuple((p.relative_to(root).as_posix(), p.read_text("utf-8")) for p in paths))
        if code.source(module) is None:
            raise ConfigError(
                f"`entrypoint: {entrypoint}` names the module {module!r}, which {root} does not have: "
                f"found {', '.join(path for path, _ in code.files)}",
                key="entrypoint",
            )
        return code

    @property
    def digest(self) -> str:
        """sha256 over the entrypoint and every file, 64 hex characters."""
        return hashlib.sha256(json.dumps([self.entrypoint, self.files]).encode()).hexdigest()

    def source(self, module: str) -> tuple[str, str] | None:
        """Return path and text of a module of the package, None when it has no such module."""
        stem = module.replace(".", "/")
        texts = dict(self.files)
        for path in (f"{stem}/__init__.py", f"{stem}.py"):
            if path in texts:
                return path, texts[path]
        return None


def load(code: CodePackage) -> Callable[..., Any]:
    """Return the entrypoint's function, its package imported under a name that holds the digest.

    Raises
    ------
    ConfigError
        When the module has no such function.
    Exception
        Whatever the user's code raises while it is imported.
    """
    space = f"{_PREFIX}{code.digest[:16]}"
    if space not in sys.modules:
        sys.meta_path.append(_Finder(space, code))
        root = ModuleType(space)
        root.__path__ = []
        sys.modules[space] = root
    module, function = code.entrypoint.split(":")
    found = getattr(importlib.import_module(f"{space}.{module}"), function, None)
    if not callable(found):
        raise ConfigError(
            f"the module {module!r} has no function {function!r}: correct the entrypoint", key="entrypoint"
        )
    return found  # type: ignore[no-any-return]


class _Finder:
    """Finds and runs the modules of one package below `space`."""

    def __init__(self, space: str, code: CodePackage) -> None:
        self.space = space
        self.code = code
        self.top = code.entrypoint.split(":")[0].split(".")[0]

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        found = self.code.source(name.removeprefix(f"{self.space}.")) if name.startswith(f"{self.space}.") else None
        if found is None:
            return None
        package = found[0].endswith("/__init__.py")
        return importlib.util.spec_from_loader(name, self, origin=found[0], is_package=package)  # type: ignore[arg-type]

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        found = self.code.source(module.__name__.removeprefix(f"{self.space}."))
        assert found is not None
        path, text = found
        # The package's absolute imports of itself must find this version, not one that happens to be installed.
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": self._import}
        exec(compile(text, f"<{self.space}>/{path}", "exec"), module.__dict__)

    def _import(
        self,
        name: str,
        scope: Mapping[str, object] | None = None,
        local: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        if level == 0 and name.partition(".")[0] == self.top:
            name = f"{self.space}.{name}"
            if not fromlist:
                # `import a.b` binds a.
                importlib.import_module(name)
                return sys.modules[f"{self.space}.{self.top}"]
        return builtins.__import__(name, scope, local, fromlist or (), level)
