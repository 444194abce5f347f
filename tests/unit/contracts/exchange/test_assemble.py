"""What no schema says, a key and clocks, comes from the options, and what comes out is a contract."""

from dataclasses import replace

import pytest

from raypipe.contracts.described import Note
from raypipe.contracts.exchange.assemble import Wanted, assemble
from raypipe.contracts.exchange.carried import Outline
from raypipe.contracts.odcs import load_contract
from raypipe.errors import ContractError

OUTLINE = Outline(
    name="Reading",
    description="Readings of a machine.",
    columns=(
        {"name": "sensor", "logicalType": "string"},
        {"name": "at", "logicalType": "timestamp", "required": True},
        {"name": "sent", "logicalType": "timestamp"},
        {"name": "celsius", "logicalType": "number"},
    ),
    carried={},
    notes=(Note("x", "not taken over"),),
)
WANTED = Wanted(name="readings", key=("at", "sensor"), event_at="at", known_at="sent")


def made(outline=OUTLINE, wanted=WANTED):
    imported = assemble(outline, wanted, "reading.proto")
    return load_contract(imported.text, "made"), imported.notes


def test_the_options_say_key_clocks_and_name():
    contract, notes = made()
    assert (contract.name, contract.version) == ("readings", "1.0.0")
    assert (contract.key, contract.event_at, contract.known_at) == (("at", "sensor"), "at", "sent")
    assert [f.name for f in contract.fields if f.required] == ["sensor", "at", "sent"]
    assert [note.path for note in notes] == ["x", "sensor", "sent"], "what became required is said"


def test_the_options_come_before_what_was_carried():
    carried = {"version": "3.0.0", "schema": {"customProperties": [{"property": "eventAt", "value": "at"}]}}
    keyed = {"name": "celsius", "logicalType": "integer", "primaryKey": True, "primaryKeyPosition": 1, "required": True}
    outline = replace(OUTLINE, columns=(*OUTLINE.columns[:3], keyed), carried=carried)
    contract, _ = made(outline, Wanted())
    assert (contract.version, contract.name, contract.key, contract.event_at) == (
        "3.0.0",
        "Reading",
        ("celsius",),
        "at",
    )
    contract, _ = made(outline, WANTED)
    assert (contract.key, contract.known_at) == (("at", "sensor"), "sent")


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (Wanted(), "add --key COLUMN and --event-at COLUMN (columns are sensor, at, sent, celsius)"),
        (Wanted(key=("sensor",)), "add --event-at COLUMN"),
        (Wanted(event_at="at"), "add --key COLUMN"),
        (replace(WANTED, key=("sensr",)), "reading.proto has no column `sensr`: did you mean `sensor`?"),
        (replace(WANTED, event_at="zzz"), "reading.proto has no column `zzz`: it has sensor, at, sent, celsius"),
        (replace(WANTED, event_at="sensor"), "reading.proto: `sensor`: `sensor` is the eventAt of every row: give it"),
        (replace(WANTED, key=("celsius",)), "reading.proto: `celsius`: `celsius` is a number and part of the key"),
    ],
)
def test_what_makes_no_contract_is_refused_with_what_to_add(wanted, said):
    with pytest.raises(ContractError) as caught:
        made(wanted=wanted)
    assert said in caught.value.message


def test_a_schema_without_a_name_needs_one():
    with pytest.raises(ContractError, match="say --name"):
        made(replace(OUTLINE, name=""), replace(WANTED, name=None))
