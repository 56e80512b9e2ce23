"""A few addresses for scripts: labels and campaigns as JSON, decisions with the token in a header."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict

from datastore.schema import DecisionAction
from workflows.serve.access import plain_headers
from workflows.serve.overview import Overview
from workflows.serve.pages.layout import told
from workflows.serve.shelf import Shelf
from workflows.serve.table import read_page, read_query


class _Decision(BaseModel):
    model_config = ConfigDict(extra="forbid")

    point_id: str
    action: DecisionAction
    author: str
    reason: str


def api_router(shelf: Shelf) -> APIRouter:
    """Routes below ``/api``."""
    router = APIRouter(prefix="/api")

    @router.get("/status")
    async def status() -> Response:
        found = {key: [_told(one) for one in await shelf.overviews(key)] for key in shelf.projects}
        return _json(found)

    @router.get("/{key}/points")
    async def points(key: str, request: Request) -> Response:
        try:
            query = read_query(request.query_params)
            rows = await shelf.run(lambda: read_page(shelf.store(key), query))
        except Exception as error:
            return _json({"error": told(error)}, 400)
        return _json(rows)

    @router.post("/{key}/decisions")
    async def decisions(key: str, asked: _Decision, request: Request) -> Response:
        if not shelf.access.allowed(plain_headers(request.scope)):
            return _json({"error": "changes need the header Authorization: Bearer TOKEN"}, 401)
        given = (asked.point_id, asked.action, asked.author, asked.reason)
        try:
            changed = await shelf.run(shelf.decide, key, *given)
        except Exception as error:
            return _json({"error": told(error)}, 400)
        return _json({point_id: point.verdict for point_id, point in changed.items()})

    return router


def _told(one: Overview) -> Mapping[str, Any]:
    plain = asdict(one)
    return {name: plain[name] for name in ("campaign", "state", "tally", "jobs", "errors", "champion", "promotion")}


def _json(content: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(content, option=orjson.OPT_NON_STR_KEYS), status, media_type="application/json")
