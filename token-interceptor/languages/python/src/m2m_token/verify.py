"""The verifier: a presented token becomes a `Caller`, or an error that names the failed check.

RFC 9068 section 4, RFC 8725. The checks, in order: size → shape and algorithm → issuer → key ID → signature
→ type → audience → times → revocation. Before the signature is checked, a token's content only selects the
issuer and the key.
"""

import dataclasses
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from . import _claims, _jws
from .errors import Denied, PolicyError
from .key_sources import RETRY_AFTER_WAIT, FixedKeys, KeyOnItsWay, KeySource
from .keys import ALGORITHMS, DEFAULT_ALGORITHMS, KeySet, VerifyingKey
from .policy import Method, Policy, matches
from .revocations import Revocations
from .token import Caller

#: The longest token, in bytes.
TOKEN_BYTES_MAX = 8192
#: The longest token of a foreign issuer, in bytes. Entra ID writes up to 200 groups into one.
FOREIGN_TOKEN_BYTES_MAX = 32 * 1024
#: The tolerance for differing clocks, in seconds.
LEEWAY = 5
#: The retry delay of a caller when keys or pushed trust are too old, in seconds.
_RETRY_AFTER_STALE = 5.0
#: The number of cached tokens: some 40 MiB.
CACHED_TOKENS_MAX = 10_000


@dataclass(frozen=True)
class TrustedIssuer:
    """An issuer whose tokens are accepted, by its exact identifier.

    `m2m_token.discover`, `m2m_token.watch` and `TrustedIssuer.fixed` make one.
    """

    issuer: str
    keys: KeySource
    #: Its tokens are accepted for these audiences only. None: for any audience of the policy.
    audiences: frozenset[str] | None = None
    #: The accepted algorithms. None: those of this project's issuer, and of a foreign issuer every one.
    algorithms: Sequence[str] | None = None
    token_types: Sequence[str] = ("at+jwt",)
    #: True if a token without `typ` is accepted too.
    untyped: bool = False
    #: True to read its tokens by RFC 7515 and RFC 7519 alone: an issuer other than this project's server.
    foreign: bool = False
    #: The clients that it may issue tokens for: IDs, or prefixes and a final `*`. None: any.
    clients: Sequence[str] | None = None
    #: The scopes that it may grant, in the same form. Others in its tokens are ignored. None: any.
    scopes: Sequence[str] | None = None
    #: The program's own revocations, beside those that the issuer pushes.
    revocations: Revocations | None = None

    @classmethod
    def fixed(cls, issuer: str, keys: KeySet) -> "TrustedIssuer":
        """Trusts an issuer with keys that do not change."""
        return cls(issuer, FixedKeys(keys))

    def limited(
        self,
        *,
        audiences: Iterable[str] | None = None,
        clients: Sequence[str] | None = None,
        scopes: Sequence[str] | None = None,
        algorithms: Sequence[str] | None = None,
        revocations: Revocations | None = None,
    ) -> "TrustedIssuer":
        """Returns the issuer with less trust."""
        for pattern in (*(clients or ()), *(scopes or ())):
            if not pattern or "*" in pattern.removesuffix("*") or " " in pattern:
                raise ValueError(f'{pattern!r} must be a name, or a prefix and one final "*"')
        for algorithm in algorithms or ():
            if algorithm not in ALGORITHMS:
                raise ValueError(f"{algorithm!r} is not a supported algorithm")
        return dataclasses.replace(
            self,
            audiences=self.audiences if audiences is None else frozenset(audiences),
            clients=self.clients if clients is None else tuple(clients),
            scopes=self.scopes if scopes is None else tuple(scopes),
            algorithms=self.algorithms if algorithms is None else tuple(algorithms),
            revocations=self.revocations if revocations is None else revocations,
        )

    def for_foreign_tokens(self, *, types: Sequence[str] = (), untyped: bool = False) -> "TrustedIssuer":
        """Returns the issuer as one that is not this project's server: see `foreign` and `untyped`."""
        return dataclasses.replace(
            self, foreign=True, token_types=(*self.token_types, *types), untyped=self.untyped or untyped
        )

    def close(self) -> None:
        """Ends the background work of its key source."""
        self.keys.close()


@dataclass
class _Seen:
    """A verified token and the grounds of the verdict."""

    caller: Caller
    issuer: TrustedIssuer
    key: VerifyingKey
    key_version: int
    revocation_version: int


class Verifier:
    """Verifies tokens of the issuers that it trusts. Safe for concurrent use."""

    def __init__(
        self,
        issuers: Iterable[TrustedIssuer],
        *,
        leeway: int = LEEWAY,
        clock: Callable[[], float] = time.time,
        cached_tokens_max: int = CACHED_TOKENS_MAX,
    ):
        self._issuers = {issuer.issuer: issuer for issuer in issuers}
        if not self._issuers:
            raise ValueError("a verifier trusts one issuer at least")
        self.leeway = leeway
        self.clock = clock
        self._lock = threading.Lock()
        self._cache: OrderedDict[str, _Seen] = OrderedDict()
        self._cached_tokens_max = cached_tokens_max
        self._unique = {issuer.issuer: self._is_unique(issuer) for issuer in self._issuers.values()}

    def close(self) -> None:
        """Ends the background work of the issuers' key sources."""
        for issuer in self._issuers.values():
            issuer.close()

    def check_policy(self, policy: Policy) -> None:
        """Raises PolicyError when a method names callers that cannot be told apart.

        That is so where several issuers may issue tokens for its audience. A client of one issuer could
        pass for another's. It is allowed where each issuer has its `clients`.
        """
        faults = [
            f"{method.path}: names callers, and several issuers speak for {method.audience!r}: "
            "give each TrustedIssuer its clients"
            for method in policy.naming_callers()
            if not self._client_ids_are_unique(method.audience)
        ]
        if faults:
            raise PolicyError(sorted(faults))

    def verify(self, token: str, audience: str, now: float | None = None, wait: bool = True) -> Caller:
        """Verifies the token for an audience. Raises Denied.

        Waits briefly for a key that is being fetched. If `wait` is False, it raises KeyOnItsWay instead.
        """
        now = self.clock() if now is None else now
        seen = self._cache.get(token)
        if seen is not None and self._is_still_good(token, seen, audience, now):
            return seen.caller
        seen = self._verify(token, audience, now, wait)
        with self._lock:
            self._cache[token] = seen
            while len(self._cache) > self._cached_tokens_max:
                self._cache.popitem(last=False)
        return seen.caller

    def check_again(self, method: Method, caller: Caller) -> float:
        """Checks the token of a call in progress again. Raises Denied when the call has to end.

        Returns the seconds until the token ends by its times. An unreachable issuer ends no call.
        """
        now = self.clock()
        end: float = caller.expires_at + self.leeway
        if now >= end:
            raise Denied("expired", "exp")
        requirement = method.requirement
        if requirement is not None and requirement.max_token_age is not None:
            # A token is too old from one second past the limit.
            limit = caller.issued_at + int(requirement.max_token_age) + self.leeway + 1
            if now >= limit:
                raise Denied("token_age")
            end = min(end, limit)
        try:
            self.verify(caller.bearer, method.audience, now, wait=False)
        except KeyOnItsWay:
            pass
        except Denied as denied:
            if not denied.is_transient:
                raise
        return end - now

    def _verify(self, token: str, audience: str, now: float, wait: bool) -> _Seen:
        bytes_of_token = len(token) if token.isascii() else len(token.encode("utf-8", "surrogatepass"))
        _check_size(bytes_of_token, max(_size_max(issuer) for issuer in self._issuers.values()))
        jws = _jws.parse(token)
        issuer = self._issuers.get(_claims.text(jws.claims, "iss"))
        if issuer is None:
            raise Denied("issuer", "iss is not a trusted issuer")
        _check_size(bytes_of_token, _size_max(issuer))
        if jws.foreign_key and not issuer.foreign:
            raise Denied("header", jws.foreign_key)
        if jws.algorithm not in _algorithms(issuer):
            raise Denied("algorithm", f"alg: {jws.algorithm} is not allowed for the issuer")
        _check_fresh(issuer, now)
        # Read before the keys and the revocations, so that a later change is noticed next time.
        versions = issuer.keys.version, _revocation_version(issuer)
        key = _signed_by(issuer, jws, wait)
        _check_type(issuer, jws.token_type)
        caller = _claims.check(jws.claims, issuer.foreign)
        caller = self._limit(issuer, caller, token)
        _check_audience(issuer, caller, audience)
        self._check_times(caller, now)
        _check_revoked(issuer, caller)
        return _Seen(caller, issuer, key, *versions)

    def _is_still_good(self, token: str, seen: _Seen, audience: str, now: float) -> bool:
        """Checks all that may have changed. Returns False if the key was withdrawn."""
        issuer = seen.issuer
        try:
            _check_fresh(issuer, now)
            version = issuer.keys.version
            if version != seen.key_version:
                if not issuer.keys.holds(seen.key):
                    return False
                seen.key_version = version
            _check_audience(issuer, seen.caller, audience)
            self._check_times(seen.caller, now)
            version = _revocation_version(issuer)
            if version != seen.revocation_version:
                _check_revoked(issuer, seen.caller)
                seen.revocation_version = version
        except Denied as denied:
            # A token for another audience is valid there.
            if denied.check != "audience" and not denied.is_transient:
                with self._lock:
                    self._cache.pop(token, None)
            raise
        return True

    def _limit(self, issuer: TrustedIssuer, caller: Caller, token: str) -> Caller:
        """Applies the issuer's rights: its own clients, and the scopes that it grants."""
        if issuer.clients is not None and not _among(issuer.clients, caller.client_id):
            raise Denied("client", "client_id is not one of the issuer's clients")
        scopes = caller.scopes
        if issuer.scopes is not None:
            scopes = tuple(scope for scope in scopes if _among(issuer.scopes, scope))
        return dataclasses.replace(
            caller, scopes=scopes, client_id_is_unique=self._unique[issuer.issuer], bearer=token
        )

    def _check_times(self, caller: Caller, now: float) -> None:
        seconds = max(int(now), 0)
        if seconds >= caller.expires_at + self.leeway:
            raise Denied("expired", "exp")
        if caller.not_before is not None and caller.not_before > seconds + self.leeway:
            raise Denied("not_yet_valid", "nbf")
        # RFC 7519 does not demand it, but no honest issuer writes such a time.
        if caller.issued_at > seconds + self.leeway:
            raise Denied("issued_in_future", "iat")

    def require(self, method: Method, caller: Caller) -> None:
        """Raises Denied unless the caller's token meets the method's requirement."""
        requirement = method.requirement
        if requirement is None:
            return
        granted = caller.scopes
        missing = [scope for scope in requirement.all_scopes if scope not in granted]
        any_of = requirement.any_scopes
        if any_of and not any(scope in granted for scope in any_of):
            missing.extend(any_of)
        if missing:
            raise Denied("scope", scopes=missing)
        if requirement.callers:
            named = _among(requirement.callers, caller.client_id)
            if not named or not caller.client_id_is_unique:
                raise Denied("caller")
        for claim in requirement.claims:
            if not claim.allows(caller.claims):
                raise Denied("claim", f"{claim.claim} has no value that the method allows")
        age = requirement.max_token_age
        if age is not None and int(self.clock()) > caller.issued_at + int(age) + self.leeway:
            raise Denied("token_age")

    def _is_unique(self, issuer: TrustedIssuer) -> bool:
        others = [other for other in self._issuers.values() if other is not issuer]
        return issuer.clients is not None or not any(_share_an_audience(issuer, other) for other in others)

    def _client_ids_are_unique(self, audience: str) -> bool:
        speaking = [
            issuer
            for issuer in self._issuers.values()
            if issuer.audiences is None or audience in issuer.audiences
        ]
        return all(self._unique[issuer.issuer] for issuer in speaking)


def _size_max(issuer: TrustedIssuer) -> int:
    return FOREIGN_TOKEN_BYTES_MAX if issuer.foreign else TOKEN_BYTES_MAX


def _algorithms(issuer: TrustedIssuer) -> Sequence[str]:
    if issuer.algorithms is not None:
        return issuer.algorithms
    return ALGORITHMS if issuer.foreign else DEFAULT_ALGORITHMS


def _check_size(size: int, size_max: int) -> None:
    if size > size_max:
        raise Denied("too_large", f"{size} bytes")


def _signed_by(issuer: TrustedIssuer, jws: _jws.Jws, wait: bool) -> VerifyingKey:
    """Returns the issuer's key that signed the token."""

    def search() -> tuple[VerifyingKey | None, str]:
        candidates = issuer.keys.candidates(jws.key_id, jws.algorithm)
        if candidates is None:
            return None, "key_unknown"
        if not candidates:
            raise Denied("algorithm", "alg: not the algorithm of the key that kid names")
        for key in candidates:
            if key.verifies(jws.signed, jws.signature):
                return key, ""
        # Without `kid`, only the signature tells a key that is not cached yet from a forgery.
        if jws.key_id is not None:
            raise Denied("signature")
        return None, "signature"

    fetches = 0
    while True:
        news = issuer.keys.news
        key, failed = search()
        if key is not None:
            return key
        try:
            # One fetch that began before the key was published, and one of this call's own.
            if not issuer.keys.unknown_key(news, wait and fetches < 2):
                raise Denied(failed, "kid" if failed == "key_unknown" else "")
        except KeyOnItsWay:
            if wait:
                raise Denied("key_unavailable", retry_after=RETRY_AFTER_WAIT) from None
            raise
        fetches += 1


def _check_fresh(issuer: TrustedIssuer, now: float) -> None:
    if issuer.keys.is_stale(now):
        raise Denied("key_unavailable", "the issuer's state is too old", retry_after=_RETRY_AFTER_STALE)


def _check_type(issuer: TrustedIssuer, token_type: str | None) -> None:
    """RFC 7515 section 4.1.9: a media type, case-insensitive, `application/` left out or not."""
    if token_type is None:
        if not issuer.untyped:
            raise Denied("type", "typ: nothing")
        return
    short = token_type
    if _ascii_lower(token_type[:12]) == "application/":
        short = token_type[12:]
    if _ascii_lower(short) not in {_ascii_lower(accepted) for accepted in issuer.token_types}:
        raise Denied("type", "typ: not an access token's")


def _ascii_lower(text: str) -> str:
    # `str.lower` also lowers letters such as the Kelvin sign.
    return text.lower() if text.isascii() else text


def _check_audience(issuer: TrustedIssuer, caller: Caller, audience: str) -> None:
    allowed = issuer.audiences is None or audience in issuer.audiences
    if not allowed or audience not in caller.audiences:
        raise Denied("audience", "aud")


def _check_revoked(issuer: TrustedIssuer, caller: Caller) -> None:
    sets = (issuer.revocations, issuer.keys.revocations)
    if any(revocations is not None and revocations.revokes(caller) for revocations in sets):
        raise Denied("revoked", "jti")


def _revocation_version(issuer: TrustedIssuer) -> int:
    own, pushed = issuer.revocations, issuer.keys.revocations
    return (own.version if own else 0) + (pushed.version if pushed else 0)


def _among(patterns: Sequence[str], name: str) -> bool:
    return any(matches(pattern, name) for pattern in patterns)


def _share_an_audience(one: TrustedIssuer, other: TrustedIssuer) -> bool:
    if one.audiences is None or other.audiences is None:
        return True
    return not one.audiences.isdisjoint(other.audiences)
