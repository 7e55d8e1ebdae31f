"""The decision on a call: policy → bearer → verification → requirement. The servers of `grpc` and `grpc.aio`
carry it out."""

import contextvars
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from . import answers
from .bearer import bearer
from .errors import Denied
from .policy import Method, Policy
from .token import Caller
from .verify import Verifier

_LOG = logging.getLogger("m2m_token")
_CURRENT: contextvars.ContextVar[Caller | None] = contextvars.ContextVar("m2m_token_caller", default=None)

#: Called with the path and the refusal of each call that is refused, or would be in observe mode.
OnDenied = Callable[[str, Denied], None]


def current_caller() -> Caller | None:
    """Returns the verified caller of the call that is being served.

    None for a public method, unless the method says `identify` and the call has a token.
    """
    return _CURRENT.get()


def set_caller(caller: Caller | None) -> None:
    """Sets the caller of the current context. The server layers call it."""
    _CURRENT.set(caller)


@dataclass(frozen=True)
class Entry:
    """The outcome of a decision that lets the call pass."""

    #: None for a public method and for an anonymous call. In observe mode also if the token is invalid.
    caller: Caller | None = None
    #: The method, if the call ends with its token.
    ends_with: Method | None = None
    #: In observe mode, the refusal that would have been made.
    would_deny: Denied | None = None


_ANONYMOUS = Entry()


class Layer:
    """A policy, a verifier, and the mode. Safe for concurrent use."""

    def __init__(
        self, verifier: Verifier, policy: Policy, *, observe: bool = False, on_denied: OnDenied | None = None
    ):
        """Raises PolicyError when the policy names callers that the verifier cannot tell apart."""
        verifier.check_policy(policy)
        self.verifier = verifier
        self.policy = policy
        self._observe = observe
        self._on_denied = on_denied

    def enter(self, path: str, authorization: Sequence[str | bytes], wait: bool = True) -> Entry:
        """Decides on a call. Raises Denied, and in observe mode records it instead.

        `wait`: False to raise KeyOnItsWay instead of waiting for a key.
        """
        caller = None
        try:
            method = self.policy.demand(path)
            if method.requirement is None or (method.optional and not authorization):
                return _ANONYMOUS
            caller = self.verifier.verify(bearer(authorization), method.audience, wait=wait)
            self.verifier.require(method, caller)
        except Denied as denied:
            self._record(path, denied)
            if self._observe:
                # The handler may know the caller, although the method demands more.
                return Entry(caller, would_deny=denied)
            raise
        outlives = method.is_unary or method.requirement.outlives_token
        return Entry(caller, None if outlives or self._observe else method)

    def look(self, path: str, entry: Entry) -> float:
        """Checks a call in progress. Returns the seconds until the next check. Raises Denied to end it."""
        if entry.ends_with is None or entry.caller is None:
            return _DOZE_MAX
        try:
            return min(self.verifier.check_again(entry.ends_with, entry.caller), _DOZE_MAX)
        except Denied as denied:
            self._record(path, denied)
            raise

    def _record(self, path: str, denied: Denied) -> None:
        _LOG.info("a call of %s is refused%s: %s", path, " (observed)" if self._observe else "", denied)
        if self._on_denied is not None:
            self._on_denied(path, denied)


#: The longest time between two checks of a call in progress, in seconds. The machine may have been
#: suspended, or a revocation may have arrived.
_DOZE_MAX = 0.5


def refusal_trailers(denied: Denied, stage: str, path: str) -> list[tuple[str, str | bytes]]:
    """Returns the trailing metadata of a refusal, with the layer's mark."""
    return [*answers.Answer.of(denied).trailers(), *answers.mark(denied, stage, path)]


def has_mark(metadata: Iterable[tuple[str, str | bytes]] | None) -> bool:
    """Returns true if the metadata of an answer have a mark."""
    return any(key.lower() == answers.MARK for key, _ in metadata or ())


def without_marks(metadata: Iterable[tuple[str, str | bytes]] | None) -> list[tuple[str, str | bytes]]:
    """Returns the metadata of an answer without marks: only the layer itself makes one, and reads one."""
    return [(key, value) for key, value in metadata or () if key.lower() != answers.MARK]
