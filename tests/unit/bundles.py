"""A small bundle for tests, made without training."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from raypipe.bundle import Bundle, Column, Lineage
from raypipe.features.transforms import fit
from raypipe.profile import Profile
from raypipe.snapshot import Snapshot
from raypipe.training.code import CodePackage
from raypipe.training.model import build
from raypipe.training.spec import Entrypoint, ModelSpec, TabularMlp

COLUMNS = (
    Column("x", "float64"),
    Column("n", "int64"),
    Column("b", "bool"),
    Column("s", "string"),
    Column("at", "timestamp"),
)
SOURCE = (
    "from torch import nn\n"
    "from my_model.parts import Flat\n"
    "def build(inputs, width=4):\n"
    "    return nn.Sequential(nn.Linear(inputs, width), nn.Tanh(), nn.Linear(width, 1), Flat())\n"
)
PARTS = "from torch import nn\nclass Flat(nn.Module):\n    def forward(self, x):\n        return x.squeeze(-1)\n"


def rows(n: int, seed: int = 0) -> pa.Table:
    random = np.random.default_rng(seed)
    start = datetime(2013, 1, 1, tzinfo=UTC)
    columns = {
        "x": pa.array(random.normal(size=n), mask=random.random(n) < 0.1),
        "n": pa.array(random.integers(0, 100, n), mask=random.random(n) < 0.1),
        "b": pa.array(random.random(n) < 0.5),
        "s": pa.array(random.choice(["a", "b", "c"], n), mask=random.random(n) < 0.1),
        "at": [start + timedelta(minutes=int(m)) for m in random.integers(0, 10_000, n)],
    }
    return pa.table(columns).cast(pa.schema([(c.name, c.arrow) for c in COLUMNS]))


def entrypoint(root: Path, parts: str = PARTS) -> CodePackage:
    (root / "my_model").mkdir()
    (root / "my_model" / "__init__.py").write_text("")
    (root / "my_model" / "parts.py").write_text(parts)
    (root / "my_model" / "model.py").write_text(SOURCE)
    return CodePackage.of("my_model.model:build", root)


def make(code: CodePackage | None = None) -> Bundle:
    table = rows(200)
    profile = Profile.of(table)
    transforms = fit(profile, COLUMNS, "America/New_York")
    spec: ModelSpec = TabularMlp(width=8)
    if code:
        spec = Entrypoint(kind="entrypoint", entrypoint=code.entrypoint, parameters={"width": 6})
    module = build(spec, len(transforms.inputs), code, seed=3)
    return Bundle(
        name="flights",
        columns=COLUMNS,
        label="late",
        architecture=spec,
        transforms=transforms,
        profile=profile,
        weights={name: value.numpy() for name, value in module.state_dict().items()},
        example=rows(3),
        lineage=Lineage(
            snapshots=(Snapshot("examples/flights", 4, "d" * 64, 200),),
            contracts=(("schedules", "1.0.0", "c" * 64),),
            code_digest="1" * 64,
            config_digest="2" * 64,
            inputs_digest="3" * 64,
            seed=7,
            environment=(("torch", "2.13.0"),),
        ),
        code=code,
        threshold=0.4,
    )
