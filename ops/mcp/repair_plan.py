"""Repair by an assistant: a plan, and applying exactly that plan once, by the token that the plan came with."""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
import time
from typing import Any

from ops.mcp.answer import Answer

# How long a plan can be applied, seconds: what was seen on the host is that old.
VALID_S = 600.0
_MAX_PLANS = 8


class Plans:
    """The plans that were shown and not applied, by token. They are kept in this process alone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._plans: dict[str, tuple[str, float]] = {}

    def token_for(self, plan: Answer) -> str:
        """A token for ``plan``; empty where there is nothing that it would apply."""
        if not would_change(plan):
            return ""
        token = secrets.token_urlsafe(24)
        with self._lock:
            while len(self._plans) >= _MAX_PLANS:
                del self._plans[next(iter(self._plans))]
            self._plans[token] = (fingerprint(plan), time.monotonic() + VALID_S)
        return token

    def take(self, token: str) -> str | None:
        """The fingerprint of the plan of ``token``, once; None for a token that is unknown, used or too old."""
        with self._lock:
            known, until = self._plans.pop(token, ("", 0.0))
        return known if known and time.monotonic() < until else None


def fingerprint(plan: Answer) -> str:
    """What a plan would do: equal for two looks that would change the same in the same way."""
    parts = [
        [remedy.get(key) for key in ("code", "safety", "what", "commands", "diff", "result")]
        for remedy in _remedies(plan)
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def would_change(plan: Answer) -> bool:
    """Whether ``plan`` was made, and changes anything without a person."""
    return any(remedy.get("safety") == "safe" and not remedy.get("by_hand") for remedy in _remedies(plan))


def _remedies(plan: Answer) -> list[dict[str, Any]]:
    fix = plan.untrusted_data.get("fix")
    remedies = fix.get("remedies", []) if isinstance(fix, dict) else []
    return [remedy for remedy in remedies if isinstance(remedy, dict)]
