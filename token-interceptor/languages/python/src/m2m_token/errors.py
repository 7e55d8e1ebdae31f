"""The refusal of a call: one closed list of checks, and the reason that the caller sees."""

from collections.abc import Sequence

#: The domain of `google.rpc.ErrorInfo` in every answer.
ERROR_DOMAIN = "m2m.token.v1"

#: The reason and the fixed sentence of each check. A sentence never quotes the token: it would tell a forger
#: how far the forgery came.
CHECKS: dict[str, tuple[str, str]] = {
    "method_not_declared": ("METHOD_NOT_DECLARED", "the method declares no policy, so every call is denied"),
    "credentials_missing": ("CREDENTIALS_MISSING", "a bearer token is required"),
    "credentials_malformed": ("TOKEN_INVALID", "the authorization is not one bearer token"),
    "too_large": ("TOKEN_INVALID", "the token is not valid"),
    "malformed": ("TOKEN_INVALID", "the token is not valid"),
    "algorithm": ("TOKEN_INVALID", "the token is not valid"),
    "header": ("TOKEN_INVALID", "the token is not valid"),
    "issuer": ("TOKEN_INVALID", "the token is not valid"),
    "signature": ("TOKEN_INVALID", "the token is not valid"),
    "type": ("TOKEN_INVALID", "the token is not valid"),
    "not_yet_valid": ("TOKEN_INVALID", "the token is not valid"),
    "issued_in_future": ("TOKEN_INVALID", "the token is not valid"),
    "sender_constrained": ("TOKEN_INVALID", "the token is not valid"),
    "key_unknown": ("TOKEN_KEY_UNKNOWN", "the token is signed by a key that its issuer does not publish"),
    "key_unavailable": ("TRUST_UNAVAILABLE", "the token cannot be verified at the moment; try again"),
    "audience": ("TOKEN_AUDIENCE_MISMATCH", "the token was issued for another audience"),
    "expired": ("TOKEN_EXPIRED", "the token has expired"),
    "client": ("CALLER_NOT_ALLOWED", "the client may not call this method"),
    "revoked": ("TOKEN_REVOKED", "the token was revoked"),
    "scope": ("SCOPE_INSUFFICIENT", "the token lacks a scope that the method demands"),
    "caller": ("CALLER_NOT_ALLOWED", "the client may not call this method"),
    "claim": ("CALLER_NOT_ALLOWED", "the token lacks a claim that the method demands"),
    "token_age": ("TOKEN_TOO_OLD", "the token was issued too long ago for this method"),
}

#: The reasons that a new token for the same audience may cure.
RENEWABLE = frozenset({"TOKEN_INVALID", "TOKEN_EXPIRED", "TOKEN_REVOKED", "TOKEN_KEY_UNKNOWN"})


class Denied(Exception):
    """The refusal of a call.

    `check` names the check that failed, one of a closed set: for logs and metrics, not for the caller.
    `detail` names the member that the check compared, for logs. Neither ever holds the token.
    """

    def __init__(
        self,
        check: str,
        detail: str = "",
        *,
        scopes: Sequence[str] = (),
        retry_after: float | None = None,
    ):
        super().__init__(f"{CHECKS[check][1]} ({check}{': ' if detail else ''}{detail})")
        self.check = check
        self.detail = detail
        #: The missing scopes.
        self.scopes = tuple(scopes)
        #: The time to wait before a retry, in seconds, if a retry may help.
        self.retry_after = retry_after

    @property
    def reason(self) -> str:
        """The reason that the caller sees, a name of `m2m.token.v1.ErrorReason` without its prefix."""
        return CHECKS[self.check][0]

    @property
    def sentence(self) -> str:
        """The fixed sentence that the caller sees."""
        return CHECKS[self.check][1]

    @property
    def is_transient(self) -> bool:
        """True if the same token may be accepted later."""
        return self.retry_after is not None

    @property
    def is_renewable(self) -> bool:
        """True if a new token for the same audience may help."""
        return self.reason in RENEWABLE


class PolicyError(Exception):
    """The policy does not fit the served methods. The message names every fault."""

    def __init__(self, faults: Sequence[str]):
        super().__init__("the policy does not fit: " + "; ".join(faults))
        self.faults = tuple(faults)
