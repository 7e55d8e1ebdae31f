import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ConformanceRequest(_message.Message):
    __slots__ = ("name", "server", "client")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SERVER_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    name: str
    server: ServerCase
    client: ClientCase
    def __init__(self, name: _Optional[str] = ..., server: _Optional[_Union[ServerCase, _Mapping]] = ..., client: _Optional[_Union[ClientCase, _Mapping]] = ...) -> None: ...

class ConformanceResponse(_message.Message):
    __slots__ = ("server", "client", "error", "unsupported")
    SERVER_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    UNSUPPORTED_FIELD_NUMBER: _ClassVar[int]
    server: ServerResult
    client: ClientResult
    error: str
    unsupported: str
    def __init__(self, server: _Optional[_Union[ServerResult, _Mapping]] = ..., client: _Optional[_Union[ClientResult, _Mapping]] = ..., error: _Optional[str] = ..., unsupported: _Optional[str] = ...) -> None: ...

class ServerCase(_message.Message):
    __slots__ = ("descriptors", "services", "issuers", "now", "method", "authorization", "handler_marks", "revoked_token_ids", "observe")
    DESCRIPTORS_FIELD_NUMBER: _ClassVar[int]
    SERVICES_FIELD_NUMBER: _ClassVar[int]
    ISSUERS_FIELD_NUMBER: _ClassVar[int]
    NOW_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    AUTHORIZATION_FIELD_NUMBER: _ClassVar[int]
    HANDLER_MARKS_FIELD_NUMBER: _ClassVar[int]
    REVOKED_TOKEN_IDS_FIELD_NUMBER: _ClassVar[int]
    OBSERVE_FIELD_NUMBER: _ClassVar[int]
    descriptors: bytes
    services: _containers.RepeatedScalarFieldContainer[str]
    issuers: _containers.RepeatedCompositeFieldContainer[TrustedIssuer]
    now: _timestamp_pb2.Timestamp
    method: str
    authorization: _containers.RepeatedScalarFieldContainer[str]
    handler_marks: _containers.RepeatedScalarFieldContainer[str]
    revoked_token_ids: _containers.RepeatedScalarFieldContainer[str]
    observe: bool
    def __init__(self, descriptors: _Optional[bytes] = ..., services: _Optional[_Iterable[str]] = ..., issuers: _Optional[_Iterable[_Union[TrustedIssuer, _Mapping]]] = ..., now: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., method: _Optional[str] = ..., authorization: _Optional[_Iterable[str]] = ..., handler_marks: _Optional[_Iterable[str]] = ..., revoked_token_ids: _Optional[_Iterable[str]] = ..., observe: bool = ...) -> None: ...

class TrustedIssuer(_message.Message):
    __slots__ = ("issuer", "jwks", "unreachable", "algorithms")
    ISSUER_FIELD_NUMBER: _ClassVar[int]
    JWKS_FIELD_NUMBER: _ClassVar[int]
    UNREACHABLE_FIELD_NUMBER: _ClassVar[int]
    ALGORITHMS_FIELD_NUMBER: _ClassVar[int]
    issuer: str
    jwks: bytes
    unreachable: bool
    algorithms: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, issuer: _Optional[str] = ..., jwks: _Optional[bytes] = ..., unreachable: bool = ..., algorithms: _Optional[_Iterable[str]] = ...) -> None: ...

class ServerResult(_message.Message):
    __slots__ = ("start_error", "allowed", "refused", "would_deny", "marks")
    START_ERROR_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    WOULD_DENY_FIELD_NUMBER: _ClassVar[int]
    MARKS_FIELD_NUMBER: _ClassVar[int]
    start_error: str
    allowed: Caller
    refused: Refusal
    would_deny: Refusal
    marks: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, start_error: _Optional[str] = ..., allowed: _Optional[_Union[Caller, _Mapping]] = ..., refused: _Optional[_Union[Refusal, _Mapping]] = ..., would_deny: _Optional[_Union[Refusal, _Mapping]] = ..., marks: _Optional[_Iterable[str]] = ...) -> None: ...

class Caller(_message.Message):
    __slots__ = ("issuer", "subject", "client_id", "token_id", "scopes", "expires_at", "actors")
    ISSUER_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    TOKEN_ID_FIELD_NUMBER: _ClassVar[int]
    SCOPES_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    ACTORS_FIELD_NUMBER: _ClassVar[int]
    issuer: str
    subject: str
    client_id: str
    token_id: str
    scopes: _containers.RepeatedScalarFieldContainer[str]
    expires_at: _timestamp_pb2.Timestamp
    actors: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, issuer: _Optional[str] = ..., subject: _Optional[str] = ..., client_id: _Optional[str] = ..., token_id: _Optional[str] = ..., scopes: _Optional[_Iterable[str]] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., actors: _Optional[_Iterable[str]] = ...) -> None: ...

class Refusal(_message.Message):
    __slots__ = ("code", "reason", "domain", "metadata", "www_authenticate", "has_retry_info")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    WWW_AUTHENTICATE_FIELD_NUMBER: _ClassVar[int]
    HAS_RETRY_INFO_FIELD_NUMBER: _ClassVar[int]
    code: int
    reason: str
    domain: str
    metadata: _containers.ScalarMap[str, str]
    www_authenticate: str
    has_retry_info: bool
    def __init__(self, code: _Optional[int] = ..., reason: _Optional[str] = ..., domain: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ..., www_authenticate: _Optional[str] = ..., has_retry_info: bool = ...) -> None: ...

class ClientCase(_message.Message):
    __slots__ = ("descriptors", "answers", "calls", "jumps", "until", "draw", "start", "sharing")
    DESCRIPTORS_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    JUMPS_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    DRAW_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    SHARING_FIELD_NUMBER: _ClassVar[int]
    descriptors: bytes
    answers: _containers.RepeatedCompositeFieldContainer[IssuerAnswer]
    calls: _containers.RepeatedCompositeFieldContainer[Call]
    jumps: _containers.RepeatedCompositeFieldContainer[ClockJump]
    until: _duration_pb2.Duration
    draw: float
    start: _timestamp_pb2.Timestamp
    sharing: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, descriptors: _Optional[bytes] = ..., answers: _Optional[_Iterable[_Union[IssuerAnswer, _Mapping]]] = ..., calls: _Optional[_Iterable[_Union[Call, _Mapping]]] = ..., jumps: _Optional[_Iterable[_Union[ClockJump, _Mapping]]] = ..., until: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., draw: _Optional[float] = ..., start: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., sharing: _Optional[_Iterable[str]] = ...) -> None: ...

class IssuerAnswer(_message.Message):
    __slots__ = ("delay", "connection_failed", "status", "retry_after", "body")
    DELAY_FIELD_NUMBER: _ClassVar[int]
    CONNECTION_FAILED_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    delay: _duration_pb2.Duration
    connection_failed: bool
    status: int
    retry_after: str
    body: bytes
    def __init__(self, delay: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., connection_failed: bool = ..., status: _Optional[int] = ..., retry_after: _Optional[str] = ..., body: _Optional[bytes] = ...) -> None: ...

class Call(_message.Message):
    __slots__ = ("at", "method", "deadline", "answers")
    AT_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    at: _duration_pb2.Duration
    method: str
    deadline: _duration_pb2.Duration
    answers: _containers.RepeatedCompositeFieldContainer[ServerAnswer]
    def __init__(self, at: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., method: _Optional[str] = ..., deadline: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., answers: _Optional[_Iterable[_Union[ServerAnswer, _Mapping]]] = ...) -> None: ...

class ServerAnswer(_message.Message):
    __slots__ = ("code", "reason", "marks")
    CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MARKS_FIELD_NUMBER: _ClassVar[int]
    code: int
    reason: str
    marks: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, code: _Optional[int] = ..., reason: _Optional[str] = ..., marks: _Optional[_Iterable[str]] = ...) -> None: ...

class ClockJump(_message.Message):
    __slots__ = ("at", "by")
    AT_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    at: _duration_pb2.Duration
    by: _duration_pb2.Duration
    def __init__(self, at: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., by: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ClientResult(_message.Message):
    __slots__ = ("requests", "calls")
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedCompositeFieldContainer[TokenRequest]
    calls: _containers.RepeatedCompositeFieldContainer[CallResult]
    def __init__(self, requests: _Optional[_Iterable[_Union[TokenRequest, _Mapping]]] = ..., calls: _Optional[_Iterable[_Union[CallResult, _Mapping]]] = ...) -> None: ...

class TokenRequest(_message.Message):
    __slots__ = ("at", "audience", "scopes")
    AT_FIELD_NUMBER: _ClassVar[int]
    AUDIENCE_FIELD_NUMBER: _ClassVar[int]
    SCOPES_FIELD_NUMBER: _ClassVar[int]
    at: _duration_pb2.Duration
    audience: str
    scopes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, at: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., audience: _Optional[str] = ..., scopes: _Optional[_Iterable[str]] = ...) -> None: ...

class CallResult(_message.Message):
    __slots__ = ("attempts", "at", "code", "reason", "marks")
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MARKS_FIELD_NUMBER: _ClassVar[int]
    attempts: _containers.RepeatedScalarFieldContainer[str]
    at: _duration_pb2.Duration
    code: int
    reason: str
    marks: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, attempts: _Optional[_Iterable[str]] = ..., at: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., code: _Optional[int] = ..., reason: _Optional[str] = ..., marks: _Optional[_Iterable[str]] = ...) -> None: ...
