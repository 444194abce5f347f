"""Executes a contract on rows: those that keep it, typed; the others with every reason why not.

A row's verdict depends on that row alone, so it does not matter how rows were split into objects or batches.
Knows rows and rules. Does not know files, tables of the lake, or how many refusals are too many.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import polars as pl
import pyarrow as pa

from raypipe.contracts.contract import Bound, Contract, Field
from raypipe.contracts.letters import types_of
from raypipe.contracts.parsing import parse
from raypipe.contracts.rows import LINE, ROW, RawPart, RawRows, as_json
from raypipe.contracts.sql import broken as broken_by
from raypipe.contracts.table_rules import Severity
from raypipe.verdict import Finding, Status

_REFUSED: list[tuple[str, pa.DataType]] = [
    ("row", pa.int64()),
    ("raw", pa.string()),
    ("types", pa.string()),
    ("reasons", pa.list_(pa.string())),
]
REFUSED = pa.schema(_REFUSED)
_ROUNDING = 2.0**-51
_REFUSED_PART = {ROW: pl.Int64(), "raw": pl.String(), "types": pl.String(), "reasons": pl.List(pl.String)}


@dataclass(frozen=True, slots=True, eq=False)
class Checked:
    """What became of the rows that could be read.

    Parameters
    ----------
    accepted
        The rows that keep the contract, with exactly its schema.
    accepted_rows
        Their positions in the object, int64, ascending.
    refused
        The others: row (int64), raw (the row as JSON), types (what `letters.rows_of` needs to read that again), reasons
        (list of strings such as `range(wind_speed)`).
    findings
        One for each rule that refused rows (QUARANTINED) and for each oddity that did not (WARNED).
    breaking
        Changes of the object's schema, where its format has one, that leave no row valid or a column empty:
        `missing_column(fare)`, `other_type(fare)`.
    """

    accepted: pa.Table
    accepted_rows: pa.Int64Array
    refused: pa.Table
    findings: tuple[Finding, ...]
    breaking: tuple[str, ...] = ()


def check(rows: RawRows | pa.Table, contract: Contract) -> Checked:
    """Return which rows keep the contract, and why the others do not.

    Parameters
    ----------
    rows
        As `read_rows` returns them (malformed rows are not looked at again), or a typed table.
    contract
        The promise.
    """
    raw = RawRows.of(rows) if isinstance(rows, pa.Table) else rows
    done = [_check_part(part, contract) for part in raw.parts]
    accepted = _ordered([d.accepted for d in done], {ROW: pl.Int64()})
    refused = _ordered([d.refused for d in done], _REFUSED_PART)
    return Checked(
        accepted=_to_arrow(accepted.drop(ROW), contract.schema),
        accepted_rows=pa.array(accepted[ROW].to_numpy(), pa.int64()) if accepted.height else pa.array([], pa.int64()),
        refused=_to_arrow(refused.rename({ROW: "row"}), REFUSED),
        findings=tuple(_findings(raw, done, contract)),
        breaking=tuple(_breaking(raw, done, contract)),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    accepted: pl.DataFrame
    refused: pl.DataFrame
    broken: Mapping[str, int]
    nans: Mapping[str, int]
    warned: Mapping[str, int]
    never: frozenset[str] = frozenset()


def _ordered(frames: list[pl.DataFrame], empty: Mapping[str, pl.DataType]) -> pl.DataFrame:
    if not frames:
        return pl.DataFrame(schema=empty)
    return frames[0] if len(frames) == 1 else pl.concat(frames).sort(ROW)


def _to_arrow(frame: pl.DataFrame, schema: pa.Schema) -> pa.Table:
    if not frame.height:
        return schema.empty_table()
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(schema)


def _check_part(part: RawPart, contract: Contract) -> _Part:
    names = [f.name for f in contract.fields]
    present = set(part.columns)
    # The raw columns step aside under other names, so that typed ones can stand beside them.
    work = part.frame.select(ROW, *((pl.col(n) if n in present else pl.lit(None)).alias(f"\0raw {n}") for n in names))
    rules: dict[str, pl.Expr] = {}
    nans: dict[str, pl.Expr] = {}
    warned: dict[str, pl.Expr] = {}
    values: list[pl.Expr] = []
    never = set()
    for field in contract.fields:
        raw = f"\0raw {field.name}"
        parsed = parse(pl.col(raw), work.schema[raw], field, text=part.text)
        values.append(parsed.value.alias(field.name))
        if field.required:
            rules[f"required({field.name})"] = parsed.missing
        if not parsed.total:
            rules[f"type({field.name})"] = ~parsed.missing & pl.col(field.name).is_null()
        if parsed.never and field.name in present:
            never.add(field.name)
        if parsed.nan is not None and not field.required:
            nans[field.name] = parsed.nan
        rules |= dict(_rules(field))
        warned |= dict(_warned(field))
    work = work.with_columns(values)
    flags = work.select([e.fill_null(False).alias(r) for r, e in rules.items()])
    flags = flags.hstack(_by_expressions(work.select(names), contract, "error"))
    nan_counts = _true(work, nans)
    broken = {r: int(flags[r].sum()) for r in flags.columns}
    broken = {r: n for r, n in broken.items() if n}
    accepted, refused = work.select(ROW, *names), pl.DataFrame(schema=_REFUSED_PART)
    if broken:
        hit = flags.select(pl.any_horizontal(list(broken)).alias("hit"))["hit"]
        refused = _refused(replace(part, frame=part.frame.filter(hit)), flags.filter(hit), list(broken))
        accepted = accepted.filter(~hit)
    said = _by_expressions(accepted.select(names), contract, "warning")
    counted = _true(accepted, warned) | {r: int(said[r].sum()) for r in said.columns}
    return _Part(accepted, refused, broken, nan_counts, counted, frozenset(never))


def _by_expressions(rows: pl.DataFrame, contract: Contract, severity: Severity) -> pl.DataFrame:
    """Return, for each expression of that severity, which rows break it."""
    wanted = [e for e in contract.expressions if e.severity == severity]
    if not wanted:
        return pl.DataFrame()
    flags = pl.DataFrame(broken_by(_to_arrow(rows, contract.schema), [(e.sql, e.must) for e in wanted]))
    return flags.rename(dict(zip(flags.columns, [e.name for e in wanted], strict=True)))


def _true(rows: pl.DataFrame, flags: Mapping[str, pl.Expr]) -> dict[str, int]:
    """Return how often each flag is true."""
    counts = rows.select([e.fill_null(False).sum().alias(n) for n, e in flags.items()])
    return {n: int(counts[n][0]) for n in counts.columns}


def _rules(field: Field) -> Iterator[tuple[str, pl.Expr]]:
    """Yield the name of each rule on the typed value, and when the value breaks it; null breaks none."""
    value = pl.col(field.name)
    outside = [
        *([_beyond(value, field.minimum, below=True)] if field.minimum else []),
        *([_beyond(value, field.maximum, below=False)] if field.maximum else []),
    ]
    if outside:
        yield f"range({field.name})", pl.any_horizontal(outside)
    if field.multiple_of is not None:
        yield f"multiple({field.name})", _between_multiples(value, field.multiple_of, field.type)
    if field.min_length is not None or field.max_length is not None:
        characters = value.str.len_chars()
        most = field.max_length if field.max_length is not None else 2**32 - 1
        yield f"length({field.name})", ~characters.is_between(field.min_length or 0, most)
    yield from _listed(field.name, field.pattern, field.valid_values, field.missing_values)


def _warned(field: Field) -> Iterator[tuple[str, pl.Expr]]:
    """Yield the same for the rules of severity `warning`."""
    if field.warned.required:
        yield f"required({field.name})", pl.col(field.name).is_null()
    rules = field.warned
    yield from _listed(field.name, rules.pattern, rules.valid_values, rules.missing_values)


def _listed(
    name: str,
    pattern: str | None,
    valid_values: tuple[str | int, ...] | None,
    missing_values: tuple[str | int | float, ...] | None,
) -> Iterator[tuple[str, pl.Expr]]:
    if pattern is not None:
        yield f"pattern({name})", ~pl.col(name).str.contains(pattern)
    if valid_values is not None:
        yield f"valid_values({name})", ~pl.col(name).is_in(list(valid_values))
    if missing_values is not None:
        yield f"missing_values({name})", pl.col(name).is_in(list(missing_values))


def _between_multiples(value: pl.Expr, step: int | float, dtype: pa.DataType) -> pl.Expr:
    if dtype == pa.int64():
        return value % int(step) != 0
    times = value / step
    # 0.3 is three times 0.1 in decimals but not in binary: each of the three roundings is half of 2**-52.
    return (times - times.round()).abs() > _ROUNDING * (times.abs() + 1)


def _beyond(value: pl.Expr, bound: Bound, *, below: bool) -> pl.Expr:
    limit = pl.lit(bound.value)
    if below:
        return value <= limit if bound.exclusive else value < limit
    return value >= limit if bound.exclusive else value > limit


def _refused(rows: RawPart, flags: pl.DataFrame, rules: list[str]) -> pl.DataFrame:
    reasons = [pl.when(pl.col(r)).then(pl.lit(r)).otherwise(None) for r in rules]
    return pl.DataFrame(
        [
            rows.frame[ROW],
            as_json(rows.frame).alias("raw"),
            pl.repeat(types_of(rows), rows.frame.height, dtype=pl.String, eager=True).alias("types"),
            flags.select(pl.concat_list(reasons).list.drop_nulls().alias("reasons"))["reasons"],
        ]
    )


def _breaking(raw: RawRows, parts: list[_Part], contract: Contract) -> Iterator[str]:
    """Yield how the object's schema breaks the contract's; JSON lines have none, so a row is all that can be wrong."""
    if not any(p.frame.height for p in raw.parts) or any(LINE in p.frame.columns for p in raw.parts):
        return
    seen = {c for p in raw.parts for c in p.columns}
    for field in contract.fields:
        if field.required and field.name not in seen:
            yield f"missing_column({field.name})"
        if all(field.name in p.never for p in parts):
            yield f"other_type({field.name})"


def _findings(raw: RawRows, parts: list[_Part], contract: Contract) -> Iterator[Finding]:
    def total(counts: list[Mapping[str, int]]) -> dict[str, int]:
        names = dict.fromkeys(n for c in counts for n in c)
        return {n: sum(c.get(n, 0) for c in counts) for n in names}

    for rule, rows in total([p.broken for p in parts]).items():
        yield Finding(rule, Status.QUARANTINED, f"{rows} rows break `{rule}` and are set aside", rows=rows)
    for rule, rows in total([p.warned for p in parts]).items():
        if rows:
            message = f"{rows} accepted rows break `{rule}`, which is a warning"
            yield Finding(rule, Status.WARNED, message, rows=rows)
    for name, rows in total([p.nans for p in parts]).items():
        if rows:
            yield Finding(
                f"nan({name})", Status.WARNED, f"{rows} values of `{name}` are NaN and became null", rows=rows
            )
    promised = {f.name for f in contract.fields}
    seen = total([dict.fromkeys((c for c in p.columns), p.frame.height) for p in raw.parts])
    for name, rows in seen.items():
        if name not in promised:
            message = f"the column `{name}` is not in the contract and was dropped: add it there to keep it"
            yield Finding(f"extra_column({name})", Status.WARNED, message, rows=rows)
    height = sum(p.frame.height for p in raw.parts)
    for field in contract.fields:
        if height and field.name not in seen and not field.required:
            message = f"the optional column `{field.name}` is in none of {height} rows: all of it is null"
            yield Finding(f"absent_column({field.name})", Status.WARNED, message, rows=height)
