"""The permitted destinations of credentials and tokens: over TLS, or on this machine."""

import ipaddress
from urllib.parse import SplitResult, urlsplit


class PlaintextRefused(ValueError):
    """The destination is plaintext and on another machine: an attacker on the path could read the token."""

    def __init__(self, destination: str):
        super().__init__(f"{destination} is plaintext and not on this machine: use TLS")


def is_loopback(host: str) -> bool:
    """Returns True for `localhost` and for loopback addresses."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_url(url: str) -> SplitResult:
    """Returns the parts of a URL for credentials. Raises ValueError, and PlaintextRefused for plaintext."""
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise ValueError("an issuer has an https URL")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        # The path and the user information may hold secrets.
        raise PlaintextRefused(f"http://{parts.hostname}")
    return parts


def check_target(target: str) -> None:
    """Raises PlaintextRefused unless the target of a plaintext channel is on this machine."""
    if target.startswith(("unix:", "unix-abstract:", "vsock:")):
        return
    rest = target.rpartition("/")[2] if "://" in target else target
    for scheme in ("dns:", "ipv4:", "ipv6:"):
        rest = rest.removeprefix(scheme)
    # Several addresses may stand in one target.
    for address in rest.split(","):
        host = address.rpartition("]")[0] + "]" if address.startswith("[") else address.rpartition(":")[0]
        if not is_loopback(host or address):
            raise PlaintextRefused(host or address)
