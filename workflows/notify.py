"""Tell others what came out of a retraining: a command that gets JSON on stdin, and a web address it is posted to.

A failed notification fails nothing else; what went wrong is returned as lines for people.
"""

from __future__ import annotations

import json
import math
import subprocess
import urllib.error
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException
from typing import Any

COMMAND_SECONDS = 60.0
POST_SECONDS = 10.0


def notify(document: dict[str, Any], command: Sequence[str], webhook: str) -> list[str]:
    """Hand ``document`` to ``command`` (argument list, no shell) and to ``webhook``; each where it is not empty.

    Returns one line per problem; empty where both were told.
    """
    text = json.dumps(_plain(document), default=str, allow_nan=False)
    problems = [_run(command, text)] if command else []
    problems += [_post(webhook, text)] if webhook else []
    return [problem for problem in problems if problem]


def _plain(value: Any) -> Any:
    """The same with null for numbers that are not finite, which JSON has not."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _run(command: Sequence[str], text: str) -> str:
    try:
        done = subprocess.run(
            list(command), input=text, text=True, capture_output=True, timeout=COMMAND_SECONDS, check=False
        )
    except OSError as error:
        return f"the command {command[0]} cannot be started: {error.strerror}; check active_learning.retrain.notify"
    except subprocess.TimeoutExpired:
        return f"the command {command[0]} was ended after {COMMAND_SECONDS:.0f} s"
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        return f"the command {command[0]} ended with exit code {done.returncode}{': ' + said[-1] if said else ''}"
    return ""


def _post(url: str, text: str) -> str:
    request = urllib.request.Request(
        url, data=text.encode(), headers={"Content-Type": "application/json"}, method="POST"
    )
    place = request.host  # the rest of the address may be a secret
    try:
        with urllib.request.urlopen(request, timeout=POST_SECONDS):
            return ""
    except urllib.error.HTTPError as error:
        return f"{place} refused the notification: HTTP {error.code}"
    except (OSError, HTTPException) as error:
        return f"{place} cannot be notified: {getattr(error, 'reason', error)}"
