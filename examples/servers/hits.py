"""A FastAPI app with several workers: each request is counted, in whichever worker it comes.

uvicorn examples.servers.hits:app --workers 4

`POST /PAGE` counts a visit, and answers when it is published: what was answered is counted, even if
the worker is killed right then. `GET /` gives what all workers have counted.
"""

from __future__ import annotations

import asyncio
import os

from fastapi import FastAPI

import autostate
from autostate import SharedCounter

app = FastAPI()
hits = SharedCounter[str]("hits")


@app.post("/{page}")
async def visit(page: str) -> dict[str, int]:
    """Count a visit."""
    hits[page] += 1
    await autostate.durable()
    return {"worker": os.getpid()}


@app.get("/")
async def total() -> dict[str, int]:
    """Give the visits to each page."""
    await asyncio.to_thread(hits.refresh)
    return dict(hits)
