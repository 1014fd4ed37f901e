"""Who may see and who may steer: token, origin and the one controller."""

import hmac
import ipaddress
import secrets
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

IDLE_AFTER_S = 10.0
"""A controller whose page is closed, and that has not spoken for so long, may be followed by another."""


@dataclass(slots=True)
class Access:
    """The rules of one server.

    Attributes:
        host: The address that it listens on.
        token: What a client must bring; empty on loopback, where none is needed.
    """

    host: str
    token: str = ""
    _controller: str = ""
    _spoke_s: float = 0.0
    _pages: dict[str, int] = field(default_factory=dict)

    @classmethod
    def for_host(cls, host: str) -> "Access":
        """Rules for an address: without a token on loopback, with a fresh one elsewhere."""
        return cls(host, "" if is_loopback(host) else secrets.token_urlsafe(24))

    def is_known(self, brought: str | None) -> bool:
        """Whether a client's token opens the door."""
        return not self.token or hmac.compare_digest((brought or "").encode(), self.token.encode())

    def is_own_page(self, origin: str | None, host_header: str | None) -> bool:
        """Whether a request comes from this server's own page, or from a program that is no browser.

        A page of another site sends its own Origin. On loopback the Host must be a loopback name too, which a
        foreign name that was made to point here (DNS rebinding) is not.
        """
        try:
            host = urlsplit(f"//{host_header or ''}").hostname or ""
            is_own = origin is None or urlsplit(origin).netloc == host_header
        except ValueError:  # no address, such as "["
            return False
        return is_own and (bool(self.token) or is_loopback(host))

    def may_steer(self, client: str) -> bool:
        """Whether a client is the controller; an empty seat is taken by the first that asks."""
        if self._is_free():
            self._controller = client
        if client == self._controller:
            self._spoke_s = time.monotonic()
        return client == self._controller

    def _is_free(self) -> bool:
        is_idle = self._controller not in self._pages and time.monotonic() - self._spoke_s > IDLE_AFTER_S
        return not self._controller or is_idle

    def take_over(self, client: str) -> None:
        """Make a client the controller, whoever it was before."""
        self._controller, self._spoke_s = client, time.monotonic()

    def enter(self, client: str) -> None:
        """A page of a client has opened; the first one gets control."""
        self._pages[client] = self._pages.get(client, 0) + 1
        self.may_steer(client)

    def leave(self, client: str) -> None:
        """A page of a client has closed; with its last one it gives control back."""
        left = self._pages.get(client, 1) - 1
        if left > 0:
            self._pages[client] = left
            return
        self._pages.pop(client, None)
        if client == self._controller:
            self._controller = ""

    def describe(self, client: str) -> dict[str, object]:
        """What a page is told: whether it is in control, whether another client is, and how many pages are open."""
        is_controller = client == self._controller
        return {
            "is_controller": is_controller,
            "is_watching": not (is_controller or self._is_free()),
            "pages": sum(self._pages.values()),
        }


def cookie_for(host_header: str | None) -> str:
    """The name of the cookie with the token: one for each port, as a host's servers share its cookies."""
    port = (host_header or "").rpartition(":")[2]
    return f"siamedge-{port if port.isdecimal() else 80}"


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
