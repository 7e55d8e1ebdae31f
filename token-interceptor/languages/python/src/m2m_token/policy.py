"""The policy: `/package.Service/Method` → the demand, read from the `m2m.auth.v1` annotations.

Paths are compared byte for byte. A path without a policy is denied.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, unknown_fields
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from m2m.auth.v1 import annotations_pb2

from .errors import Denied, PolicyError

#: The health methods, open by default: a monitoring probe has no token. Reflection is not open.
HEALTH = tuple(f"/grpc.health.v1.Health/{method}" for method in ("Check", "List", "Watch"))

# The generated types of extensions are not those that the library's own types ask for.
_SERVICE: Any = annotations_pb2.service
_METHOD: Any = annotations_pb2.method

# The fields of each message that this version enforces. The generated types may be those of a later contract,
# which a program has linked.
_FIELDS = {
    "m2m.auth.v1.ServiceAuthorization": {"audience", "default_requirement"},
    "m2m.auth.v1.MethodAuthorization": {"public", "require", "identify"},
    "m2m.auth.v1.Requirement": {
        "all_scopes",
        "any_scopes",
        "callers",
        "max_token_age",
        "stream_expiry",
        "claims",
    },
    "m2m.auth.v1.ClaimRequirement": {"claim", "values"},
}

# RFC 6749 section 3.3: scope-token.
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+\Z")

# RFC 6901 section 3: `~` stands only before 0 or 1.
_NO_POINTER = re.compile(r"~(?![01])")
_INDEX = re.compile(r"(0|[1-9][0-9]*)\Z", re.ASCII)


@dataclass(frozen=True)
class Requirement:
    """The demands on a verified token; the plain form of `m2m.auth.v1.Requirement`."""

    all_scopes: tuple[str, ...] = ()
    any_scopes: tuple[str, ...] = ()
    #: Client IDs, or prefixes and a final `*`. Empty: any client.
    callers: tuple[str, ...] = ()
    #: In seconds.
    max_token_age: float | None = None
    #: True if an open stream goes on after the token's end.
    outlives_token: bool = False
    #: Further claims of the token, each of which must have an allowed value.
    claims: tuple["ClaimRequirement", ...] = ()


@dataclass(frozen=True)
class ClaimRequirement:
    """A claim of the token and its allowed values."""

    #: The name of the claim. If it begins with `/`, a JSON Pointer (RFC 6901) into the claims.
    claim: str
    values: tuple[str, ...]

    def allows(self, claims: Mapping[str, Any]) -> bool:
        """Returns true if the claim is one of the allowed strings, or a list that contains one."""
        value = _claim_at(claims, self.claim)
        found = value if isinstance(value, list) else [value]
        return any(isinstance(one, str) and one in self.values for one in found)

    @property
    def fault(self) -> str | None:
        """The fault, if there is one. Scopes and clients have fields that know the limits of each issuer."""
        name = self.claim.removeprefix("/")
        first = name.partition("/")[0] if self.claim.startswith("/") else name
        if not self.values:
            return f"the claim {self.claim!r} has no allowed values, so no token could meet it"
        if not name:
            return f"{self.claim!r} is not the name of a claim"
        if first in ("scope", "scp"):
            return f"{self.claim!r}: use all_scopes or any_scopes"
        if first in ("client_id", "azp", "cid", "appid"):
            return f"{self.claim!r}: use callers"
        if self.claim.startswith("/") and _NO_POINTER.search(self.claim):
            return f"{self.claim!r} is not a JSON Pointer (RFC 6901): write ~ as ~0"
        return None


@dataclass(frozen=True)
class Method:
    """One method and its demand."""

    path: str
    audience: str
    #: None for a public method.
    requirement: Requirement | None
    client_streaming: bool = False
    server_streaming: bool = False
    #: True for a public method with `identify`: a call without a token is anonymous.
    optional: bool = False

    @property
    def is_unary(self) -> bool:
        """True if each side sends one message."""
        return not (self.client_streaming or self.server_streaming)


class Policy:
    """The demands of every method of some services."""

    def __init__(self, methods: Iterable[Method]):
        self._methods: dict[str, Method] = {path: Method(path, "", None) for path in HEALTH}
        self._methods.update((method.path, method) for method in methods)

    @classmethod
    def of_services(cls, services: Iterable[str], public: Iterable[str] = ()) -> "Policy":
        """Reads the policy of services by their full names, from the linked-in descriptors.

        `public`: the paths of methods that are open to all callers, in spite of their annotations. Raises
        PolicyError when a service is not described, or a method has no policy.
        """
        pool = descriptor_pool.Default()
        files, faults = {}, []
        for service in services:
            try:
                described = pool.FindServiceByName(service)
            except KeyError:
                faults.append(f"{service}: no linked-in descriptor describes it")
                continue
            if described.file.name not in files:
                file = descriptor_pb2.FileDescriptorProto()
                described.file.CopyToProto(file)
                files[described.file.name] = file
        if faults:
            raise PolicyError(sorted(faults))
        return cls.of_files(files.values(), services, public)

    @classmethod
    def of_files(
        cls,
        files: Iterable[descriptor_pb2.FileDescriptorProto],
        services: Iterable[str],
        public: Iterable[str] = (),
    ) -> "Policy":
        """Reads the policy of services from file descriptors, as `of_services` does."""
        described = _services(files)
        methods, faults = [], set()
        for name in services:
            if name not in described:
                faults.add(f"{name}: no linked-in descriptor describes it")
                continue
            found, wrong = _methods(name, described[name], frozenset(public))
            faults.update(wrong)
            methods.extend(found)
        if faults:
            raise PolicyError(sorted(faults))
        return cls(methods)

    @classmethod
    def of_everything(cls, files: Iterable[descriptor_pb2.FileDescriptorProto]) -> "Policy":
        """Reads the policy of every service in the files, for the client side. Skips methods without one."""
        methods: list[Method] = []
        for name, service in _services(files).items():
            methods.extend(_methods(name, service, frozenset())[0])
        return cls(methods)

    @property
    def methods(self) -> Mapping[str, Method]:
        """The methods by their paths."""
        return self._methods

    def demand(self, path: str) -> Method:
        """Returns the demand of a method. Raises Denied for a path without a policy."""
        method = self._methods.get(path)
        if method is None:
            raise Denied("method_not_declared")
        return method

    def naming_callers(self) -> list[Method]:
        """Returns the methods that name callers."""
        return [
            method for method in self._methods.values() if method.requirement and method.requirement.callers
        ]


def _services(
    files: Iterable[descriptor_pb2.FileDescriptorProto],
) -> dict[str, descriptor_pb2.ServiceDescriptorProto]:
    described = {}
    for file in files:
        dot = "." if file.package else ""
        for service in file.service:
            described[f"{file.package}{dot}{service.name}"] = service
    return described


def _methods(
    name: str, service: descriptor_pb2.ServiceDescriptorProto, opened: frozenset[str]
) -> tuple[list[Method], list[str]]:
    """Returns the methods of one service, and the faults of its annotations."""
    methods: list[Method] = []
    faults: list[str] = []
    declared: annotations_pb2.ServiceAuthorization = service.options.Extensions[_SERVICE]
    unknown = _unknown_field(declared)
    if unknown is not None:
        return [], [f"{name}: {unknown}"]
    audience = declared.audience or name
    default = declared.default_requirement if declared.HasField("default_requirement") else None
    for method in service.method:
        path = f"/{name}/{method.name}"
        owner = f"{name}.{method.name}"
        streaming = method.client_streaming, method.server_streaming
        requirement, public, identify = default, False, False
        wrong = []
        if method.options.HasExtension(_METHOD):
            own: annotations_pb2.MethodAuthorization = method.options.Extensions[_METHOD]
            wrong = _contradictions(own)
            requirement, public, identify = (
                own.require if own.HasField("require") else None,
                own.public,
                own.identify,
            )
        wrong += [] if requirement is None else _faults(requirement)
        if wrong:
            # Also of a method that the program opens, as in every language.
            faults.extend(f"{owner}: {fault}" for fault in wrong)
        elif path in opened or (public and not identify):
            methods.append(Method(path, audience, None, *streaming))
        elif identify:
            methods.append(Method(path, audience, Requirement(), *streaming, optional=True))
        elif requirement is not None:
            methods.append(Method(path, audience, _requirement(requirement), *streaming))
        elif path not in HEALTH:
            faults.append(f"{path}: is served without a policy, so every call is denied")
    return methods, faults


def _contradictions(own: annotations_pb2.MethodAuthorization) -> list[str]:
    unknown = _unknown_field(own)
    if unknown is not None:
        return [unknown]
    if own.public and own.HasField("require"):
        return ["is both public and requires a token: declare one of the two"]
    if own.identify and not own.public:
        return ["identify is for public methods: declare public, and not require"]
    return []


def _unknown_field(message: Message) -> str | None:
    """Returns the fault of an annotation with a field that this version does not know, or of a message in it.

    The field may demand more of a token.
    """
    fields = unknown_fields.UnknownFieldSet(message)
    if len(fields) > 0:
        return _unknown(f"number {fields[0].field_number}")
    known = _FIELDS.get(message.DESCRIPTOR.full_name)
    for found, value in message.ListFields():
        if known is not None and found.name not in known:
            return _unknown(found.name)
        if found.type != FieldDescriptor.TYPE_MESSAGE:
            continue
        for nested in [value] if isinstance(value, Message) else value:
            fault = _unknown_field(nested)
            if fault is not None:
                return fault
    return None


def _unknown(field: str) -> str:
    return f"the annotation has the field {field}, which this version of m2m_token does not know"


def _requirement(message: annotations_pb2.Requirement) -> Requirement:
    age = message.max_token_age
    return Requirement(
        tuple(message.all_scopes),
        tuple(message.any_scopes),
        tuple(message.callers),
        age.seconds + age.nanos / 1e9 if message.HasField("max_token_age") else None,
        message.stream_expiry == annotations_pb2.STREAM_EXPIRY_ALLOW,
        _claims(message),
    )


def _claims(message: annotations_pb2.Requirement) -> tuple[ClaimRequirement, ...]:
    return tuple(ClaimRequirement(one.claim, tuple(one.values)) for one in message.claims)


def _claim_at(claims: Mapping[str, Any], name: str) -> Any:
    if not name.startswith("/"):
        return claims.get(name)
    value: Any = claims
    for escaped in name[1:].split("/"):
        token = escaped.replace("~1", "/").replace("~0", "~")
        if isinstance(value, Mapping):
            value = value.get(token)
        elif isinstance(value, list) and _INDEX.match(token) and int(token) < len(value):
            value = value[int(token)]
        else:
            return None
    return value


def _faults(message: annotations_pb2.Requirement) -> list[str]:
    faults = []
    for scope in (*message.all_scopes, *message.any_scopes):
        if not _SCOPE.match(scope):
            faults.append(f"{scope!r} is not a scope (RFC 6749 section 3.3)")
    for caller in message.callers:
        if not caller or "*" in caller.removesuffix("*"):
            faults.append(f'caller {caller!r} must be a client ID, or a prefix and one final "*"')
    faults.extend(claim.fault for claim in _claims(message) if claim.fault)
    if message.max_token_age.seconds < 0 or message.max_token_age.nanos < 0:
        faults.append("max_token_age is negative")
    return faults


def matches(pattern: str, name: str) -> bool:
    """Matches a name against another, or against a prefix and one final `*`."""
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern
