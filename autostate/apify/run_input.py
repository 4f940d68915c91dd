"""Inputs of runs, compared: what is sent, and what the platform has made of it."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from typing import Any


def text_of(run_input: Any) -> str:
    """Give what an input is compared by: its JSON, or a digest of bytes."""
    if isinstance(run_input, bytes | bytearray):
        return f"sha256:{hashlib.sha256(run_input).hexdigest()}"
    if isinstance(run_input, str):
        return run_input
    return json.dumps(run_input, ensure_ascii=False, default=str)


def digest_of(text: str) -> str:
    """Give a digest of an input, in which the order of keys does not matter."""
    with suppress(ValueError):
        text = json.dumps(json.loads(text), sort_keys=True)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]


def is_equal(stored: bytes | None, text: str) -> bool:
    """Tell whether an INPUT record can be what the platform made of an input."""
    if stored is None:
        return text in ("null", "")
    if text.startswith("sha256:"):
        return text == f"sha256:{hashlib.sha256(stored).hexdigest()}"
    try:
        sent, found = json.loads(text), json.loads(stored)
    except ValueError:
        return stored == text.encode()
    if sent is None:
        return True  # a run without an input has the defaults as its input
    if not isinstance(sent, dict) or not isinstance(found, dict):
        return bool(sent == found)
    return all(key in found and _same(found[key], value) for key, value in sent.items())


def _same(found: Any, sent: Any) -> bool:
    encrypted = isinstance(found, str) and found.startswith("ENCRYPTED_")
    return bool(found == sent) or encrypted
