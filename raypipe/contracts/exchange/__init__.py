"""Contracts in other notations: Avro, Protobuf and JSON Schema, to them and from them. Pure.

A notation holds some rules of a contract itself. The others go with it as the keys of the standard that they are, where
the notation lets one say more: a contract that was exported is imported as it was.
"""
