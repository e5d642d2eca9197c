"""Write-back as somebody with nothing but grpcurl uses it."""

from __future__ import annotations

import json
import subprocess
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


class Refused(Exception):
    """A call failed, for ``reason``; ``fields`` are those of the violations."""

    def __init__(self, error: dict[str, Any]) -> None:
        details = error.get("details", [{}])
        self.reason: str = details[0].get("reason", error["message"])
        self.metadata: dict[str, str] = details[0].get("metadata", {})
        self.fields = {
            violation["field"] for detail in details for violation in detail.get("field_violations", [])
        }
        super().__init__(f"{self.reason}: {error['message']}")


@dataclass
class Asking:
    """Calls of WritebackService for the school "oak" at ``target``; ``who`` is a caller's token."""

    target: str
    grpcurl: str

    def ask(self, who: str, method: str, **request: Any) -> dict[str, Any]:
        """Return what ``who`` is answered. Raises :class:`Refused`."""
        request.setdefault("school_id", "oak")
        done = subprocess.run(
            [
                *(self.grpcurl, "-plaintext", "-format-error", "-max-time", "60"),
                *("-H", f"authorization: Bearer {who}", "-d", "@"),
                *(self.target, f"schoolgate.v1.WritebackService/{method}"),
            ],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        if done.returncode:
            raise Refused(json.loads(done.stderr))
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def policy(
        self, policy: str, operation: str = "record_behaviour_event", **request: Any
    ) -> dict[str, Any]:
        """Set the policy of an operation, as the caller "admin"."""
        given = {"operation": operation, "policy": f"WRITE_POLICY_{policy}", "request_id": str(uuid.uuid4())}
        return self.ask("admin", "SetWritePolicy", **(given | request))

    def get(self, write: dict[str, Any], who: str = "admin") -> dict[str, Any]:
        """Return a write as it stands."""
        found: dict[str, Any] = self.ask(who, "GetWrite", write_id=write["write_id"])["write"]
        return found

    def until(
        self, write: dict[str, Any], state: str, seconds: float = 60, *, is_also: Callable[[Any], Any] = bool
    ) -> dict[str, Any]:
        """Return a write once it is in a state; fails where it is not within ``seconds``."""
        end = time.monotonic() + seconds
        while True:
            found = self.get(write)
            if found["state"] == f"WRITE_STATE_{state}" and is_also(found):
                return found
            assert time.monotonic() < end, found
            time.sleep(0.1)
