"""Contracts: what a record must be like beyond its schema, as data; checked by columns."""

from operators.contracts.contract import Contract
from operators.contracts.files import (
    ContractError,
    contract_of,
    field_kinds,
    load_contract,
    load_privacy,
    read_compatibility,
    read_contract,
)
from operators.contracts.repairs import REPAIRS
from operators.contracts.warnings import WARNINGS

__all__ = [
    "REPAIRS",
    "WARNINGS",
    "Contract",
    "ContractError",
    "contract_of",
    "field_kinds",
    "load_contract",
    "load_privacy",
    "read_compatibility",
    "read_contract",
]
