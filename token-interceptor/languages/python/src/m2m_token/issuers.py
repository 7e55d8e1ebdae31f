"""The trusted issuers of a server: by discovery, at a key set's URL, or pushed by a token server."""

import logging
import random
import threading
import time
from typing import Any
from urllib.parse import urlsplit

import grpc
from google.protobuf import timestamp_pb2

from m2m.token.v1 import trust_service_pb2, trust_service_pb2_grpc

from . import strict_json
from .destinations import check_url
from .errors import Denied
from .http_client import HttpClient, metadata_urls
from .key_sources import COOLDOWN, MAX_AGE, FetchedKeys, Held, KeyOnItsWay
from .keys import KeySet, KeySetError, VerifyingKey
from .revocations import ALWAYS, Revocations
from .sources import issuer_channel
from .verify import TrustedIssuer

_LOG = logging.getLogger("m2m_token")

# The longest time of a fetch, in seconds.
_FETCH_TIMEOUT = 5.0
#: The default time for which pushed trust is used after its stream was lost, in seconds.
STALE_AFTER = 3600.0
# The longest silence on the stream, in seconds. The server sends a heartbeat every 10 seconds.
_SILENCE_MAX = 30.0
# The longest wait for the stream to begin, and the pauses between two streams, in seconds.
_CONNECT_MAX, _FIRST_PAUSE, _PAUSE_MAX = 5.0, 0.1, 5.0
_FORGET_EVERY = 60


def discover(
    issuer: str,
    *,
    extra_roots: bytes | None = None,
    max_age: float = MAX_AGE,
    cooldown: float = COOLDOWN,
    stale_after: float | None = None,
) -> TrustedIssuer:
    """Trusts an issuer that is found by its metadata: OpenID Connect Discovery, or RFC 8414.

    `issuer` is compared byte for byte with the metadata and with the `iss` of every token. `stale_after`:
    the seconds after which an unreachable issuer's keys are no longer used; None: they are used through an
    outage of any length.
    """
    parts = check_url(issuer)
    if parts.query or parts.fragment:
        raise ValueError("the issuer has a query or a fragment (RFC 8414 section 2)")
    http = HttpClient(extra_roots=extra_roots, timeout=_FETCH_TIMEOUT)

    def fetch() -> KeySet:
        return _fetch_keys(http, _keys_url(http, issuer))

    keys = FetchedKeys(issuer, fetch, max_age=max_age, cooldown=cooldown, stale_after=stale_after)
    return TrustedIssuer(issuer, keys)


def jwks(
    issuer: str,
    url: str,
    *,
    extra_roots: bytes | None = None,
    max_age: float = MAX_AGE,
    cooldown: float = COOLDOWN,
    stale_after: float | None = None,
) -> TrustedIssuer:
    """Trusts an issuer whose JWK Set is at `url`."""
    check_url(url)
    http = HttpClient(extra_roots=extra_roots, timeout=_FETCH_TIMEOUT)
    keys = FetchedKeys(
        issuer, lambda: _fetch_keys(http, url), max_age=max_age, cooldown=cooldown, stale_after=stale_after
    )
    return TrustedIssuer(issuer, keys)


def watch(
    issuer: str,
    *,
    extra_roots: bytes | None = None,
    channel: grpc.Channel | None = None,
    stale_after: float = STALE_AFTER,
) -> TrustedIssuer:
    """Trusts a token server that pushes its keys and revocations: `m2m.token.v1.TrustService.WatchTrust`.

    A new key arrives before its first use, and a revocation is enforced within a second.
    """
    return TrustedIssuer(
        issuer, PushedTrust(issuer, channel or issuer_channel(issuer, extra_roots), stale_after)
    )


def _keys_url(http: HttpClient, issuer: str) -> str:
    openid, oauth = metadata_urls(urlsplit(issuer))
    failure: Exception | None = None
    for url in (openid, oauth):
        try:
            response = http.get(url)
            if response.status != 200:
                raise KeySetError(f"the issuer's metadata are answered with {response.status}")
            members = strict_json.parse_object(response.body)
            if members.get("issuer") != issuer:
                raise KeySetError("the metadata are those of another issuer")
            keys = members.get("jwks_uri")
            if not isinstance(keys, str) or (issuer.startswith("https:") and not keys.startswith("https:")):
                raise KeySetError("the metadata name a jwks_uri that must not be used")
            return keys
        except Exception as error:
            # If both fail, the first error says more.
            failure = failure or error
    assert failure is not None
    raise failure


def _fetch_keys(http: HttpClient, url: str) -> KeySet:
    response = http.get(url)
    if response.status != 200:
        raise KeySetError(f"the key set is answered with {response.status}")
    return KeySet.from_jwks(response.body)


class Unsupported(Exception):
    """The issuer pushes what this version does not know. The state must not be used any further."""


def apply_revocation(revocations: Revocations, pushed: trust_service_pb2.Revocation) -> None:
    """Adds a pushed revocation. Raises Unsupported for one of an unknown kind."""
    # Without a time to forget it is kept for good: too much is refused then, never too little.
    forget = _seconds_after(pushed.forget_time) if pushed.HasField("forget_time") else ALWAYS
    kind = pushed.WhichOneof("target")
    if kind == "token_hash" and len(pushed.token_hash) == 16:
        revocations.add(pushed.token_hash, ALWAYS, forget)
    elif kind == "client_hash" and len(pushed.client_hash) == 16:
        dated = pushed.HasField("issued_before_time")
        before = _seconds_after(pushed.issued_before_time) if dated else ALWAYS
        revocations.add(pushed.client_hash, before, forget)
    else:
        raise Unsupported("it pushes revocations of a kind that is unknown here")


def _seconds_after(time: timestamp_pb2.Timestamp) -> int:
    # In whole seconds, as tokens count: a token of the second in which its client was revoked is revoked.
    return max(time.seconds + (1 if time.nanos > 0 else 0), 0)


class PushedTrust:
    """The pushed trust of one issuer: a `KeySource` that a background thread keeps.

    While the stream is live, an unknown key is not the issuer's. When the stream is lost, the last state is
    used until it is too old. Then every token is rejected, as a revocation may have been missed.
    """

    def __init__(self, issuer: str, channel: grpc.Channel, stale_after: float = STALE_AFTER):
        self.revocations: Revocations | None = Revocations()
        self._issuer = issuer
        self._stale_after = stale_after
        make_stub: Any = trust_service_pb2_grpc.TrustServiceStub
        self._stub = make_stub(channel)
        self._held = Held()
        self._live = False
        # The time at which the state was last known to be whole, by both clocks.
        self._heard = time.monotonic(), time.time()
        self._version = ""
        self._jwks: dict[str, str] = {}
        self._keys_changed = False
        self._stream: Any = None
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._start()

    @property
    def version(self) -> int:
        return self._held.version

    @property
    def news(self) -> int:
        return self._held.news

    def candidates(self, key_id: str | None, algorithm: str) -> list[VerifyingKey] | None:
        keys = self._held.keys
        return None if keys is None else keys.candidates(key_id, algorithm)

    def holds(self, key: VerifyingKey) -> bool:
        keys = self._held.keys
        return keys is not None and keys.holds(key)

    def unknown_key(self, news: int, wait: bool = True) -> bool:
        self._start()
        if self._live and self._age() <= _SILENCE_MAX:
            return False
        if self._held.keys is not None:
            raise Denied("key_unavailable", retry_after=_PAUSE_MAX)
        if not wait:
            raise KeyOnItsWay
        self._held.wait(news)
        return True

    def is_stale(self, now: float) -> bool:
        if self._age() <= self._stale_after:
            return False
        self._start()
        return True

    def close(self) -> None:
        self._closed.set()
        if self._stream is not None:
            self._stream.cancel()

    def apply(self, message: trust_service_pb2.WatchTrustResponse) -> None:
        """Applies one message. The state counts as current once the last part of a step has arrived."""
        # Revocations first: a key in the same message must not admit a token that the message revokes.
        assert self.revocations is not None
        for revocation in message.revocations:
            apply_revocation(self.revocations, revocation)
        if message.snapshot:
            self._jwks.clear()
        if message.snapshot or message.keys or message.removed_key_ids:
            self._keys_changed = True
        for key in message.keys:
            if key.state == trust_service_pb2.KEY_STATE_DISTRUSTED:
                self._jwks.pop(key.key_id, None)
            else:
                self._jwks[key.key_id] = key.jwk
        for key_id in message.removed_key_ids:
            self._jwks.pop(key_id, None)
        # The first state is used only once it is complete, because some revocations may still be missing.
        if self._keys_changed and (not message.more_follows or self._version):
            self._held.hold(KeySet.from_texts(self._jwks.values()))
            self._keys_changed = False
        if not message.more_follows:
            self._version = message.version
            self._heard = time.monotonic(), time.time()
            self._live = True
            self._held.tell()

    def _age(self) -> float:
        # One clock stands still while the machine is suspended; the other can be set.
        monotonic, wall = self._heard
        return max(time.monotonic() - monotonic, time.time() - wall)

    def _start(self) -> None:
        if self._threads and all(thread.is_alive() for thread in self._threads):
            return
        with self._lock:
            if self._closed.is_set() or (
                self._threads and all(thread.is_alive() for thread in self._threads)
            ):
                return
            self._threads = [
                threading.Thread(target=target, name=f"m2m-token {name}", daemon=True)
                for name, target in (("trust", self._follow), ("trust age", self._watch_age))
            ]
            for thread in self._threads:
                thread.start()

    def _follow(self) -> None:
        failures = 0
        while not self._closed.is_set():
            before = self._held.news
            try:
                reason = self._follow_once()
            except grpc.RpcError as error:
                reason = f"it broke off: {error.code().name}"
            except Exception as error:
                reason = str(error)
            self._live = False
            failures = 0 if self._held.news > before else failures + 1
            if self._closed.is_set():
                return
            _LOG.warning("lost the trust stream of %s; the last state stays in use: %s", self._issuer, reason)
            pause = min(_FIRST_PAUSE * 2 ** min(failures, 10), _PAUSE_MAX)
            self._closed.wait(pause * (0.5 + random.random() / 2))

    def _follow_once(self) -> str:
        described = self._stub.GetIssuer(trust_service_pb2.GetIssuerRequest(), timeout=_CONNECT_MAX)
        if described.issuer.issuer != self._issuer:
            return "the TrustService is another issuer's"
        # The silence of this stream counts from here.
        self._opened = time.monotonic()
        self._stream = self._stub.WatchTrust(trust_service_pb2.WatchTrustRequest(since_version=self._version))
        for message in self._stream:
            self._opened = time.monotonic()
            self.apply(message)
        return "the issuer closed it"

    def _watch_age(self) -> None:
        self._opened = time.monotonic()
        seconds = 0
        while not self._closed.wait(1.0):
            seconds += 1
            if self._stream is not None and time.monotonic() - self._opened > _SILENCE_MAX:
                self._stream.cancel()
            if seconds % _FORGET_EVERY == 0 and self.revocations is not None:
                self.revocations.forget(int(time.time()))
