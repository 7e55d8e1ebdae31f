import datetime

from google.protobuf import descriptor_pb2 as _descriptor_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StreamExpiry(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STREAM_EXPIRY_UNSPECIFIED: _ClassVar[StreamExpiry]
    STREAM_EXPIRY_CLOSE: _ClassVar[StreamExpiry]
    STREAM_EXPIRY_ALLOW: _ClassVar[StreamExpiry]
STREAM_EXPIRY_UNSPECIFIED: StreamExpiry
STREAM_EXPIRY_CLOSE: StreamExpiry
STREAM_EXPIRY_ALLOW: StreamExpiry
SERVICE_FIELD_NUMBER: _ClassVar[int]
service: _descriptor.FieldDescriptor
METHOD_FIELD_NUMBER: _ClassVar[int]
method: _descriptor.FieldDescriptor
SENSITIVE_FIELD_NUMBER: _ClassVar[int]
sensitive: _descriptor.FieldDescriptor

class ServiceAuthorization(_message.Message):
    __slots__ = ("audience", "default_requirement")
    AUDIENCE_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_REQUIREMENT_FIELD_NUMBER: _ClassVar[int]
    audience: str
    default_requirement: Requirement
    def __init__(self, audience: _Optional[str] = ..., default_requirement: _Optional[_Union[Requirement, _Mapping]] = ...) -> None: ...

class MethodAuthorization(_message.Message):
    __slots__ = ("public", "require", "identify")
    PUBLIC_FIELD_NUMBER: _ClassVar[int]
    REQUIRE_FIELD_NUMBER: _ClassVar[int]
    IDENTIFY_FIELD_NUMBER: _ClassVar[int]
    public: bool
    require: Requirement
    identify: bool
    def __init__(self, public: bool = ..., require: _Optional[_Union[Requirement, _Mapping]] = ..., identify: bool = ...) -> None: ...

class Requirement(_message.Message):
    __slots__ = ("all_scopes", "any_scopes", "callers", "max_token_age", "stream_expiry", "claims")
    ALL_SCOPES_FIELD_NUMBER: _ClassVar[int]
    ANY_SCOPES_FIELD_NUMBER: _ClassVar[int]
    CALLERS_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKEN_AGE_FIELD_NUMBER: _ClassVar[int]
    STREAM_EXPIRY_FIELD_NUMBER: _ClassVar[int]
    CLAIMS_FIELD_NUMBER: _ClassVar[int]
    all_scopes: _containers.RepeatedScalarFieldContainer[str]
    any_scopes: _containers.RepeatedScalarFieldContainer[str]
    callers: _containers.RepeatedScalarFieldContainer[str]
    max_token_age: _duration_pb2.Duration
    stream_expiry: StreamExpiry
    claims: _containers.RepeatedCompositeFieldContainer[ClaimRequirement]
    def __init__(self, all_scopes: _Optional[_Iterable[str]] = ..., any_scopes: _Optional[_Iterable[str]] = ..., callers: _Optional[_Iterable[str]] = ..., max_token_age: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., stream_expiry: _Optional[_Union[StreamExpiry, str]] = ..., claims: _Optional[_Iterable[_Union[ClaimRequirement, _Mapping]]] = ...) -> None: ...

class ClaimRequirement(_message.Message):
    __slots__ = ("claim", "values")
    CLAIM_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    claim: str
    values: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, claim: _Optional[str] = ..., values: _Optional[_Iterable[str]] = ...) -> None: ...
