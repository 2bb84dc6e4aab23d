"""Who may ask for the page: this machine, under a name of this machine.

A page in a browser can make requests to loopback, and a name of its own can lead there
(DNS rebinding). Both are told by headers that scripts cannot set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from luminal.web.dress import policy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

__all__ = ["Guard", "is_loopback"]


def is_loopback(host: str) -> bool:
    """Whether *host* is ``localhost`` or an address of this machine alone."""
    import ipaddress

    name = host.removeprefix("[").removesuffix("]")
    if name.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    # A server of both families sees 127.0.0.1 as ::ffff:127.0.0.1.
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _host_of(header: str) -> str:
    """Return the host of ``host:port``; an empty string where it is no such thing."""
    import re

    parts = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(:[0-9]+)?", header)
    return parts[1] if parts else ""


@attrs.define(eq=False)
class Guard:
    """Refuses whoever may not ask, and puts protective headers on each answer.

    Args:
        app: The ASGI application behind it.
    """

    app: Callable[..., Awaitable[None]]

    async def __call__(self, scope: Any, receive: Any, send: Send) -> None:
        """Answer one request; part of ASGI."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        protect = _protecting(send)
        why = _refusal(scope)
        if why:
            from starlette.responses import PlainTextResponse

            answer = PlainTextResponse(f"refused: {why}\n", status_code=403)
            await answer(scope, receive, protect)
            return
        await self.app(scope, receive, protect)


def _refusal(scope: Any) -> str:
    """Return why the request is refused, or an empty string."""
    headers: dict[str, list[str]] = {}
    for key, value in scope["headers"]:
        headers.setdefault(key.decode("latin-1"), []).append(value.decode("latin-1"))
    hosts = headers.get("host", [])
    if len(hosts) != 1 or not is_loopback(_host_of(hosts[0])):
        return "the Host header names no loopback address"
    client = scope.get("client")
    if client and not is_loopback(client[0]):
        return "the request comes from another machine"
    origins = {f"http://{hosts[0]}", f"https://{hosts[0]}"}
    if not origins.issuperset(headers.get("origin", [])):
        return "the request comes from a page of another origin"
    site = headers.get("sec-fetch-site", ["none"])[0]
    is_visit = headers.get("sec-fetch-mode", [""])[0] == "navigate"
    if site not in ("none", "same-origin") and not is_visit:
        return "the request comes from a page of another site"
    return ""


def _protecting(send: Send) -> Send:
    added = [
        # A header can forbid frames; the page's own tag cannot.
        ("content-security-policy", f"{policy()}; frame-ancestors 'none'"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
    ]
    raw = [(key.encode(), value.encode()) for key, value in added]

    async def protect(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            names = {key for key, _ in raw}
            kept = [pair for pair in message["headers"] if pair[0] not in names]
            message = {**message, "headers": [*kept, *raw]}
        await send(message)

    return protect
