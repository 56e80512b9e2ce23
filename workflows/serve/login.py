"""The login form: plain HTML without a script, so that it works before anything else may be loaded."""

from __future__ import annotations

import asyncio
from html import escape
from urllib.parse import parse_qs

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from workflows.serve.access import SESSION_SECONDS, Access, local_path, plain_headers

LONGEST = 4096
"""Bytes of a form that are read."""

PAUSE = 0.5
"""Seconds until a wrong token is answered."""

FORM = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Log in · spinmultinet</title>
<meta name="viewport" content="width=device-width"><style>
body {{ font: 16px/1.5 system-ui, sans-serif; background: #f6f7f9; color: #1f2937; display: grid; place-items: center;
  min-height: 90vh }} form {{ background: white; border: 1px solid #e5e7eb; border-radius: 10px; padding: 28px 32px;
  width: 22rem; display: grid; gap: 12px }} h1 {{ font-size: 1.2rem; margin: 0 }} p {{ margin: 0; color: #6b7280;
  font-size: .9rem }} .problem {{ color: #b91c1c }} input, button {{ font: inherit; padding: 8px 10px;
  border-radius: 6px; border: 1px solid #cbd5e1 }} button {{ background: #0b3c5d; color: white; border: 0 }}</style>
</head><body><form method="post" action="/login"><h1>spinmultinet</h1>
<p>The token is in the terminal where the server was started, or in its token file.</p>
<input type="password" name="token" autocomplete="off" autofocus required aria-label="token" placeholder="token">
<input type="hidden" name="next" value="{next}"><button>Log in</button><p class="problem">{problem}</p></form>
</body></html>
"""


def login_router(access: Access) -> APIRouter:
    """Routes ``/login`` and ``/logout``."""
    router = APIRouter()

    @router.get("/login")
    async def form(request: Request) -> Response:
        return _form(local_path(request.query_params.get("next", "/")))

    @router.post("/login")
    async def login(request: Request) -> Response:
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > LONGEST:
                return _form("/", "that is no token", 413)
        given = parse_qs(body.decode("latin-1"))
        target = local_path(given.get("next", ["/"])[0])
        if not access.opens(given.get("token", [""])[0].strip()):
            await asyncio.sleep(PAUSE)
            return _form(target, "that is not the token of this server", 403)
        answer = RedirectResponse(target, 303)
        answer.set_cookie(
            access.cookie, access.begin(), max_age=int(SESSION_SECONDS), httponly=True, samesite="strict", path="/"
        )
        return answer

    @router.get("/logout")
    async def logout(request: Request) -> Response:
        access.end(access.session(plain_headers(request.scope)))
        answer = RedirectResponse("/", 303)
        answer.delete_cookie(access.cookie)
        return answer

    return router


def _form(target: str, problem: str = "", status: int = 200) -> HTMLResponse:
    return HTMLResponse(FORM.format(next=escape(target, quote=True), problem=escape(problem)), status)
