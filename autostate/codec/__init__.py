"""Values as JSON, without loss: plain JSON where JSON has the value, tagged where it has not."""

from __future__ import annotations

from autostate.codec.bound import root_of
from autostate.codec.collisions import refuse_collisions
from autostate.codec.decoding import decode, decode_key, resolve_key
from autostate.codec.factories import decode_factory, encode_factory
from autostate.codec.kinds import CONTAINERS, register_container
from autostate.codec.names import look_again
from autostate.codec.options import is_persisted
from autostate.codec.parts import levels_of, parts_of
from autostate.codec.raw import NATIVE, dump, dump_as_is, is_flat, is_tagged
from autostate.codec.registry import ATOMS, ENCODERS, entry_for, entry_named, is_atom, register
from autostate.codec.tagged import encode_key, jsonable, problem_of, unsaved
from autostate.codec.unknown import Unknown
from autostate.codec.unsupported import Replaced, TooDeep, Unsupported
from autostate.memory import encode as dumps

__all__ = [
    "ATOMS",
    "CONTAINERS",
    "ENCODERS",
    "NATIVE",
    "Replaced",
    "TooDeep",
    "Unknown",
    "Unsupported",
    "decode",
    "decode_factory",
    "decode_key",
    "dump",
    "dump_as_is",
    "dumps",
    "encode_factory",
    "encode_key",
    "entry_for",
    "entry_named",
    "is_atom",
    "is_flat",
    "is_persisted",
    "is_tagged",
    "jsonable",
    "levels_of",
    "look_again",
    "parts_of",
    "problem_of",
    "refuse_collisions",
    "register",
    "register_container",
    "resolve_key",
    "root_of",
    "unsaved",
]
