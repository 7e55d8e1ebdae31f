import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from m2m.auth.v1 import annotations_pb2 as _annotations_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Client(_message.Message):
    __slots__ = ("client_id", "display_name", "grants", "credentials", "token_lifetime", "claims", "redirect_uris", "disabled", "labels", "etag", "create_time", "update_time", "grant_types", "jwks_uri", "may_impersonate", "subject_audiences", "accept_token_endpoint_audience")
    class ClaimsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    GRANTS_FIELD_NUMBER: _ClassVar[int]
    CREDENTIALS_FIELD_NUMBER: _ClassVar[int]
    TOKEN_LIFETIME_FIELD_NUMBER: _ClassVar[int]
    CLAIMS_FIELD_NUMBER: _ClassVar[int]
    REDIRECT_URIS_FIELD_NUMBER: _ClassVar[int]
    DISABLED_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    GRANT_TYPES_FIELD_NUMBER: _ClassVar[int]
    JWKS_URI_FIELD_NUMBER: _ClassVar[int]
    MAY_IMPERSONATE_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_AUDIENCES_FIELD_NUMBER: _ClassVar[int]
    ACCEPT_TOKEN_ENDPOINT_AUDIENCE_FIELD_NUMBER: _ClassVar[int]
    client_id: str
    display_name: str
    grants: _containers.RepeatedCompositeFieldContainer[Grant]
    credentials: _containers.RepeatedCompositeFieldContainer[Credential]
    token_lifetime: _duration_pb2.Duration
    claims: _containers.ScalarMap[str, str]
    redirect_uris: _containers.RepeatedScalarFieldContainer[str]
    disabled: bool
    labels: _containers.ScalarMap[str, str]
    etag: str
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    grant_types: _containers.RepeatedScalarFieldContainer[str]
    jwks_uri: str
    may_impersonate: bool
    subject_audiences: _containers.RepeatedScalarFieldContainer[str]
    accept_token_endpoint_audience: bool
    def __init__(self, client_id: _Optional[str] = ..., display_name: _Optional[str] = ..., grants: _Optional[_Iterable[_Union[Grant, _Mapping]]] = ..., credentials: _Optional[_Iterable[_Union[Credential, _Mapping]]] = ..., token_lifetime: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., claims: _Optional[_Mapping[str, str]] = ..., redirect_uris: _Optional[_Iterable[str]] = ..., disabled: bool = ..., labels: _Optional[_Mapping[str, str]] = ..., etag: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., grant_types: _Optional[_Iterable[str]] = ..., jwks_uri: _Optional[str] = ..., may_impersonate: bool = ..., subject_audiences: _Optional[_Iterable[str]] = ..., accept_token_endpoint_audience: bool = ...) -> None: ...

class Grant(_message.Message):
    __slots__ = ("audience", "scopes", "default_scopes")
    AUDIENCE_FIELD_NUMBER: _ClassVar[int]
    SCOPES_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_SCOPES_FIELD_NUMBER: _ClassVar[int]
    audience: str
    scopes: _containers.RepeatedScalarFieldContainer[str]
    default_scopes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, audience: _Optional[str] = ..., scopes: _Optional[_Iterable[str]] = ..., default_scopes: _Optional[_Iterable[str]] = ...) -> None: ...

class Credential(_message.Message):
    __slots__ = ("credential_id", "secret", "public_key", "federated_identity", "expire_time", "create_time", "last_used_time")
    CREDENTIAL_ID_FIELD_NUMBER: _ClassVar[int]
    SECRET_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    FEDERATED_IDENTITY_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    LAST_USED_TIME_FIELD_NUMBER: _ClassVar[int]
    credential_id: str
    secret: Secret
    public_key: PublicKey
    federated_identity: FederatedIdentity
    expire_time: _timestamp_pb2.Timestamp
    create_time: _timestamp_pb2.Timestamp
    last_used_time: _timestamp_pb2.Timestamp
    def __init__(self, credential_id: _Optional[str] = ..., secret: _Optional[_Union[Secret, _Mapping]] = ..., public_key: _Optional[_Union[PublicKey, _Mapping]] = ..., federated_identity: _Optional[_Union[FederatedIdentity, _Mapping]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_used_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Secret(_message.Message):
    __slots__ = ("prefix", "imported", "imported_hash")
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    IMPORTED_FIELD_NUMBER: _ClassVar[int]
    IMPORTED_HASH_FIELD_NUMBER: _ClassVar[int]
    prefix: str
    imported: bool
    imported_hash: str
    def __init__(self, prefix: _Optional[str] = ..., imported: bool = ..., imported_hash: _Optional[str] = ...) -> None: ...

class PublicKey(_message.Message):
    __slots__ = ("jwk",)
    JWK_FIELD_NUMBER: _ClassVar[int]
    jwk: str
    def __init__(self, jwk: _Optional[str] = ...) -> None: ...

class FederatedIdentity(_message.Message):
    __slots__ = ("issuer", "subject", "subject_prefix", "claims", "max_age", "reuse")
    class ClaimsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: ClaimValues
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[ClaimValues, _Mapping]] = ...) -> None: ...
    ISSUER_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_PREFIX_FIELD_NUMBER: _ClassVar[int]
    CLAIMS_FIELD_NUMBER: _ClassVar[int]
    MAX_AGE_FIELD_NUMBER: _ClassVar[int]
    REUSE_FIELD_NUMBER: _ClassVar[int]
    issuer: str
    subject: str
    subject_prefix: str
    claims: _containers.MessageMap[str, ClaimValues]
    max_age: _duration_pb2.Duration
    reuse: bool
    def __init__(self, issuer: _Optional[str] = ..., subject: _Optional[str] = ..., subject_prefix: _Optional[str] = ..., claims: _Optional[_Mapping[str, ClaimValues]] = ..., max_age: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., reuse: bool = ...) -> None: ...

class ClaimValues(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, values: _Optional[_Iterable[str]] = ...) -> None: ...

class CreateClientRequest(_message.Message):
    __slots__ = ("client", "validate_only", "credential")
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    client: Client
    validate_only: bool
    credential: Credential
    def __init__(self, client: _Optional[_Union[Client, _Mapping]] = ..., validate_only: bool = ..., credential: _Optional[_Union[Credential, _Mapping]] = ...) -> None: ...

class CreateClientResponse(_message.Message):
    __slots__ = ("client", "client_secret")
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    CLIENT_SECRET_FIELD_NUMBER: _ClassVar[int]
    client: Client
    client_secret: str
    def __init__(self, client: _Optional[_Union[Client, _Mapping]] = ..., client_secret: _Optional[str] = ...) -> None: ...

class GetClientRequest(_message.Message):
    __slots__ = ("client_id",)
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    client_id: str
    def __init__(self, client_id: _Optional[str] = ...) -> None: ...

class GetClientResponse(_message.Message):
    __slots__ = ("client",)
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    client: Client
    def __init__(self, client: _Optional[_Union[Client, _Mapping]] = ...) -> None: ...

class ListClientsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListClientsResponse(_message.Message):
    __slots__ = ("clients", "next_page_token")
    CLIENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    clients: _containers.RepeatedCompositeFieldContainer[Client]
    next_page_token: str
    def __init__(self, clients: _Optional[_Iterable[_Union[Client, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class UpdateClientRequest(_message.Message):
    __slots__ = ("client", "update_mask", "validate_only", "keep_tokens")
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    KEEP_TOKENS_FIELD_NUMBER: _ClassVar[int]
    client: Client
    update_mask: _field_mask_pb2.FieldMask
    validate_only: bool
    keep_tokens: bool
    def __init__(self, client: _Optional[_Union[Client, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ..., validate_only: bool = ..., keep_tokens: bool = ...) -> None: ...

class UpdateClientResponse(_message.Message):
    __slots__ = ("client",)
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    client: Client
    def __init__(self, client: _Optional[_Union[Client, _Mapping]] = ...) -> None: ...

class DeleteClientRequest(_message.Message):
    __slots__ = ("client_id", "etag", "keep_tokens")
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    KEEP_TOKENS_FIELD_NUMBER: _ClassVar[int]
    client_id: str
    etag: str
    keep_tokens: bool
    def __init__(self, client_id: _Optional[str] = ..., etag: _Optional[str] = ..., keep_tokens: bool = ...) -> None: ...

class DeleteClientResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AddCredentialRequest(_message.Message):
    __slots__ = ("client_id", "credential", "overlap")
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    OVERLAP_FIELD_NUMBER: _ClassVar[int]
    client_id: str
    credential: Credential
    overlap: _duration_pb2.Duration
    def __init__(self, client_id: _Optional[str] = ..., credential: _Optional[_Union[Credential, _Mapping]] = ..., overlap: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class AddCredentialResponse(_message.Message):
    __slots__ = ("credential", "client_secret")
    CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    CLIENT_SECRET_FIELD_NUMBER: _ClassVar[int]
    credential: Credential
    client_secret: str
    def __init__(self, credential: _Optional[_Union[Credential, _Mapping]] = ..., client_secret: _Optional[str] = ...) -> None: ...

class RemoveCredentialRequest(_message.Message):
    __slots__ = ("client_id", "credential_id", "revoke_tokens")
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    CREDENTIAL_ID_FIELD_NUMBER: _ClassVar[int]
    REVOKE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    client_id: str
    credential_id: str
    revoke_tokens: bool
    def __init__(self, client_id: _Optional[str] = ..., credential_id: _Optional[str] = ..., revoke_tokens: bool = ...) -> None: ...

class RemoveCredentialResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RevokeClientTokensRequest(_message.Message):
    __slots__ = ("client_id", "issued_before_time")
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    ISSUED_BEFORE_TIME_FIELD_NUMBER: _ClassVar[int]
    client_id: str
    issued_before_time: _timestamp_pb2.Timestamp
    def __init__(self, client_id: _Optional[str] = ..., issued_before_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class RevokeClientTokensResponse(_message.Message):
    __slots__ = ("issued_before_time",)
    ISSUED_BEFORE_TIME_FIELD_NUMBER: _ClassVar[int]
    issued_before_time: _timestamp_pb2.Timestamp
    def __init__(self, issued_before_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ReplaceRegistrationTokenRequest(_message.Message):
    __slots__ = ("client_id", "expire_time")
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    client_id: str
    expire_time: _timestamp_pb2.Timestamp
    def __init__(self, client_id: _Optional[str] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ReplaceRegistrationTokenResponse(_message.Message):
    __slots__ = ("registration_access_token", "expire_time")
    REGISTRATION_ACCESS_TOKEN_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    registration_access_token: str
    expire_time: _timestamp_pb2.Timestamp
    def __init__(self, registration_access_token: _Optional[str] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
