"""Checking all records of a state in a store, also those that only an earlier state needs."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from typing import Any

from msgspec import Struct

from autostate.errors import CorruptStateError, StoreError
from autostate.journal import history
from autostate.journal.commit import SEQUENCES, NodeState, references
from autostate.journal.head import CORRUPT, PREFIX, kind_of
from autostate.journal.journal import Journal
from autostate.journal.record import DamagedRecordError, open_record
from autostate.memory import encode
from autostate.signing import BadSignatureError, Signer
from autostate.stores.base import Store


class Verified(Struct, frozen=True):
    """The result of a check.

    Attributes:
        records: The number of records that were read.
        bytes: The number of bytes of these records.
        copies: The number of records that were copied before because they could not be read.
        problems: The damages, one sentence each.
    """

    records: int
    bytes: int
    copies: int
    problems: list[str]


def verify(store: Store, signer: Signer | None = None, *, timeout: float | None = None) -> Verified:
    """Check the digest of each record, and that the records make a state and its history.

    Only reads.

    Args:
        store: The store that holds the state.
        signer: The keys with which pickled values must be signed; None: they are not checked.
        timeout: The most seconds to wait for each answer of the store.

    Raises:
        StoreError: The store could not be read.
    """
    keys = store.list(PREFIX, timeout=timeout)
    copies = [key for key in keys if key.startswith(CORRUPT)]
    records = size = 0
    problems: list[str] = []
    for key in keys:
        data = None if key in copies else store.read(key, timeout=timeout)
        if data is None:  # the owner of the state has deleted it meanwhile
            continue
        records, size = records + 1, size + len(data)
        try:
            open_record(key, data, kind_of(key))
        except DamagedRecordError as error:
            problems.append(f"the record {error.key} {error.problem}")
    try:
        nodes = Journal(store).recover(timeout=timeout).nodes
        problems += _missing(nodes)
        history.commits(store, timeout)
        problems += () if signer is None else unsigned(nodes, signer)
    except StoreError:
        raise
    except CorruptStateError as error:
        problems.append(str(error))
    return Verified(records, size, len(copies), problems)


def size_of(node: NodeState) -> tuple[int, set[int]]:
    """Return the bytes that a node takes as JSON, and the nodes to which it refers."""
    content = node.content
    data = encode(content if node.kind in SEQUENCES else list(content.values()))
    keys = () if node.kind in SEQUENCES else content
    return len(data) + sum(len(str(key)) + 4 for key in keys), references(data)


def unsigned(nodes: dict[int, NodeState], signer: Signer) -> Iterator[str]:
    """Find pickled values that no key of the signer has signed."""
    for node_id, node in nodes.items():
        is_sequence = node.kind in SEQUENCES
        for key, value in enumerate(node.content) if is_sequence else node.content.items():
            place = f"{node_id}/{key}" if type(key) is str else f"{node_id}"
            where = f"{node.name or 'a part of the state'}[{key!r}]".replace("'", '"')
            for data, signature in _pickles(value):
                try:
                    signer.verify(data, signature, place)
                except BadSignatureError as error:
                    yield f"{where}: {error}"


def holds_pickled(nodes: Iterable[NodeState]) -> bool:
    """Tell whether there are pickled values, which only their key opens."""
    for node in nodes:
        content = node.content
        values = content.values() if isinstance(content, dict) else content
        if any(True for value in values for _ in _pickles(value)):
            return True
    return False


def _pickles(value: Any) -> Iterator[tuple[bytes, str]]:
    """Yield the pickled values in the JSON of an entry, with their signatures."""
    todo = [value]
    while todo:
        match todo.pop():
            case {"$pickled": [str(text), str(signature)], **rest} if not rest:
                yield base64.b64decode(text), signature
            case dict(found):
                todo.extend(found.values())
            case list(found):
                todo.extend(found)


def _missing(nodes: dict[int, NodeState]) -> Iterator[str]:
    """Find references to nodes that are not stored."""
    for node in nodes.values():
        for other in size_of(node)[1] - nodes.keys():
            where = "a part of the state" if node.name is None else node.name
            yield f"{where} refers to the node {other}, which is not stored"
