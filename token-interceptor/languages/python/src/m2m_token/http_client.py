"""HTTP for tokens and key sets: no redirects, bounded answers, TLS beyond this machine."""

import errno
import http.client
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from email.message import Message
from typing import Any
from urllib.parse import SplitResult, urlsplit, urlunsplit

from .destinations import check_url, is_loopback
from .source import Cause, SourceError
from .token_response import HttpResponse

#: The longest answer, in bytes.
ANSWER_BYTES_MAX = 256 * 1024
# OpenSSL's codes of a certificate whose CA is not trusted.
_UNTRUSTED_CA = frozenset({2, 18, 19, 20, 21})


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


class _ProxyBeyondThisMachine(urllib.request.ProxyHandler):
    def proxy_open(self, req: urllib.request.Request, proxy: str, type: str) -> Any:
        if is_loopback(urlsplit(req.full_url).hostname or ""):
            return None
        return super().proxy_open(req, proxy, type)


class HttpClient:
    """An HTTP client. The proxy for `https` URLs is that of the environment."""

    def __init__(self, *, extra_roots: bytes | None = None, timeout: float = 31.0):
        """`extra_roots`: certificates in PEM that are trusted beside the machine's own."""
        context = ssl.create_default_context()
        if extra_roots:
            context.load_verify_locations(cadata=extra_roots.decode())
        # Plaintext goes to this machine alone, so never through a proxy.
        named = urllib.request.getproxies()
        proxy = named.get("https") or named.get("all")
        proxies = {"https": proxy} if proxy else {}
        self._opener = urllib.request.build_opener(
            _ProxyBeyondThisMachine(proxies), urllib.request.HTTPSHandler(context=context), _NoRedirects()
        )
        self._timeout = timeout

    def get(self, url: str) -> HttpResponse:
        """Fetches a document. Raises SourceError when there is no answer."""
        return self._exchange(urllib.request.Request(url, headers={"accept": "application/json"}))

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> HttpResponse:
        """Posts a form. Raises SourceError when there is no answer."""
        return self._exchange(urllib.request.Request(url, body, dict(headers), method="POST"))

    def _exchange(self, request: urllib.request.Request) -> HttpResponse:
        check_url(request.full_url)
        try:
            try:
                with self._opener.open(request, timeout=self._timeout) as answer:
                    return _response(answer.status, answer.headers, answer.read(ANSWER_BYTES_MAX + 1))
            except urllib.error.HTTPError as error:
                with error:
                    return _response(error.code, error.headers, error.read(ANSWER_BYTES_MAX + 1))
        except (OSError, http.client.HTTPException) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            cause = cause_of(reason if isinstance(reason, BaseException) else error)
            raise SourceError(f"no answer over HTTP: {cause}", cause=cause) from None


def _response(status: int, headers: Message, body: bytes) -> HttpResponse:
    if len(body) > ANSWER_BYTES_MAX:
        raise SourceError("the answer is too long")
    return HttpResponse(status, {name.lower(): value for name, value in headers.items()}, body)


def cause_of(error: BaseException) -> Cause:
    """Returns the class of a failure to connect."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return "untrusted_ca" if error.verify_code in _UNTRUSTED_CA else "certificate_invalid"
    if isinstance(error, socket.gaierror):
        return "name_not_resolved"
    if isinstance(error, ConnectionRefusedError):
        return "connection_refused"
    if isinstance(error, TimeoutError):
        return "timed_out"
    if isinstance(error, OSError) and error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        return "unreachable"
    if isinstance(error, (ConnectionError, http.client.HTTPException, ssl.SSLError)):
        return "connection_lost"
    return "answer"


def metadata_urls(issuer: SplitResult) -> tuple[str, str]:
    """Returns the URLs of an issuer's metadata: OpenID Connect Discovery, and RFC 8414 section 3.1."""
    path = issuer.path.rstrip("/")
    openid = f"{path}/.well-known/openid-configuration"
    oauth = f"/.well-known/oauth-authorization-server{path}"
    return (
        urlunsplit((issuer.scheme, issuer.netloc, openid, "", "")),
        urlunsplit((issuer.scheme, issuer.netloc, oauth, "", "")),
    )
