import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from m2m.auth.v1 import annotations_pb2 as _annotations_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class KeyState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    KEY_STATE_UNSPECIFIED: _ClassVar[KeyState]
    KEY_STATE_PENDING: _ClassVar[KeyState]
    KEY_STATE_ACTIVE: _ClassVar[KeyState]
    KEY_STATE_RETIRING: _ClassVar[KeyState]
    KEY_STATE_DISTRUSTED: _ClassVar[KeyState]
KEY_STATE_UNSPECIFIED: KeyState
KEY_STATE_PENDING: KeyState
KEY_STATE_ACTIVE: KeyState
KEY_STATE_RETIRING: KeyState
KEY_STATE_DISTRUSTED: KeyState

class GetIssuerRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetIssuerResponse(_message.Message):
    __slots__ = ("issuer",)
    ISSUER_FIELD_NUMBER: _ClassVar[int]
    issuer: Issuer
    def __init__(self, issuer: _Optional[_Union[Issuer, _Mapping]] = ...) -> None: ...

class Issuer(_message.Message):
    __slots__ = ("issuer", "jwks_uri", "token_endpoint", "signing_algorithms", "grant_types", "client_authentication_methods", "maximum_token_lifetime")
    ISSUER_FIELD_NUMBER: _ClassVar[int]
    JWKS_URI_FIELD_NUMBER: _ClassVar[int]
    TOKEN_ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    SIGNING_ALGORITHMS_FIELD_NUMBER: _ClassVar[int]
    GRANT_TYPES_FIELD_NUMBER: _ClassVar[int]
    CLIENT_AUTHENTICATION_METHODS_FIELD_NUMBER: _ClassVar[int]
    MAXIMUM_TOKEN_LIFETIME_FIELD_NUMBER: _ClassVar[int]
    issuer: str
    jwks_uri: str
    token_endpoint: str
    signing_algorithms: _containers.RepeatedScalarFieldContainer[str]
    grant_types: _containers.RepeatedScalarFieldContainer[str]
    client_authentication_methods: _containers.RepeatedScalarFieldContainer[str]
    maximum_token_lifetime: _duration_pb2.Duration
    def __init__(self, issuer: _Optional[str] = ..., jwks_uri: _Optional[str] = ..., token_endpoint: _Optional[str] = ..., signing_algorithms: _Optional[_Iterable[str]] = ..., grant_types: _Optional[_Iterable[str]] = ..., client_authentication_methods: _Optional[_Iterable[str]] = ..., maximum_token_lifetime: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ListKeysRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListKeysResponse(_message.Message):
    __slots__ = ("keys", "max_age")
    KEYS_FIELD_NUMBER: _ClassVar[int]
    MAX_AGE_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedCompositeFieldContainer[Key]
    max_age: _duration_pb2.Duration
    def __init__(self, keys: _Optional[_Iterable[_Union[Key, _Mapping]]] = ..., max_age: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Key(_message.Message):
    __slots__ = ("key_id", "algorithm", "jwk", "state", "sign_after_time", "verify_until_time")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    JWK_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SIGN_AFTER_TIME_FIELD_NUMBER: _ClassVar[int]
    VERIFY_UNTIL_TIME_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    algorithm: str
    jwk: str
    state: KeyState
    sign_after_time: _timestamp_pb2.Timestamp
    verify_until_time: _timestamp_pb2.Timestamp
    def __init__(self, key_id: _Optional[str] = ..., algorithm: _Optional[str] = ..., jwk: _Optional[str] = ..., state: _Optional[_Union[KeyState, str]] = ..., sign_after_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., verify_until_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class WatchTrustRequest(_message.Message):
    __slots__ = ("since_version",)
    SINCE_VERSION_FIELD_NUMBER: _ClassVar[int]
    since_version: str
    def __init__(self, since_version: _Optional[str] = ...) -> None: ...

class WatchTrustResponse(_message.Message):
    __slots__ = ("version", "server_time", "snapshot", "keys", "removed_key_ids", "revocations", "more_follows")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SERVER_TIME_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    REMOVED_KEY_IDS_FIELD_NUMBER: _ClassVar[int]
    REVOCATIONS_FIELD_NUMBER: _ClassVar[int]
    MORE_FOLLOWS_FIELD_NUMBER: _ClassVar[int]
    version: str
    server_time: _timestamp_pb2.Timestamp
    snapshot: bool
    keys: _containers.RepeatedCompositeFieldContainer[Key]
    removed_key_ids: _containers.RepeatedScalarFieldContainer[str]
    revocations: _containers.RepeatedCompositeFieldContainer[Revocation]
    more_follows: bool
    def __init__(self, version: _Optional[str] = ..., server_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., snapshot: bool = ..., keys: _Optional[_Iterable[_Union[Key, _Mapping]]] = ..., removed_key_ids: _Optional[_Iterable[str]] = ..., revocations: _Optional[_Iterable[_Union[Revocation, _Mapping]]] = ..., more_follows: bool = ...) -> None: ...

class Revocation(_message.Message):
    __slots__ = ("token_hash", "client_hash", "issued_before_time", "forget_time")
    TOKEN_HASH_FIELD_NUMBER: _ClassVar[int]
    CLIENT_HASH_FIELD_NUMBER: _ClassVar[int]
    ISSUED_BEFORE_TIME_FIELD_NUMBER: _ClassVar[int]
    FORGET_TIME_FIELD_NUMBER: _ClassVar[int]
    token_hash: bytes
    client_hash: bytes
    issued_before_time: _timestamp_pb2.Timestamp
    forget_time: _timestamp_pb2.Timestamp
    def __init__(self, token_hash: _Optional[bytes] = ..., client_hash: _Optional[bytes] = ..., issued_before_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., forget_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
