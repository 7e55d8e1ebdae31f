"""Servers of `grpc` whose methods demand tokens, as the annotations of their services say."""

from collections.abc import Callable, Iterable, Sequence
from concurrent import futures
from typing import Any

import grpc

from . import _server
from .errors import PolicyError
from .layer import Layer, OnDenied
from .policy import Policy
from .verify import TrustedIssuer, Verifier

#: The interceptor's view of a handler's place: what `grpc` passes to it.
_Continuation = Callable[[Any], grpc.RpcMethodHandler | None]


class AuthorizationInterceptor(grpc.ServerInterceptor):
    """The layer as an interceptor, for a server that the program makes itself. It comes first.

    The policy is to name every service of the server: `Policy.of_services`. `m2m_token.server` does so by
    itself.
    """

    def __init__(self, layer: Layer | None = None):
        self.layer = layer
        self._guarded = _server.Guarded(_server.guarded)

    def intercept_service(self, continuation: _Continuation, details: Any) -> grpc.RpcMethodHandler | None:
        """Puts the layer around the handler."""
        if self.layer is None:
            raise RuntimeError("the server was started without m2m_token")
        handler: grpc.RpcMethodHandler | None = self._guarded.of(
            self.layer, details.method, continuation(details)
        )
        return handler


class ServedServices:
    """The names of the services that a server registers."""

    def __init__(self) -> None:
        self._names: dict[str, None] = {}
        self._nameless = False

    def add(self, name: str) -> None:
        """Adds a service."""
        self._names[name] = None

    def add_generic(self, handlers: Iterable[Any]) -> None:
        """Adds the services of generic handlers."""
        for handler in handlers:
            name = getattr(handler, "service_name", None)
            if name is None:
                self._nameless = True
            else:
                self.add(name())

    def policy(self, public: Iterable[str]) -> Policy:
        """Returns the policy of the services. Raises PolicyError when one has no policy."""
        if self._nameless:
            raise PolicyError(["a generic handler serves methods that no descriptor describes"])
        # Reflection is closed unless the program opens it.
        names = [name for name in self._names if not name.startswith("grpc.reflection.")]
        opened = [name for name in self._names if any(path.startswith(f"/{name}/") for path in public)]
        return Policy.of_services(dict.fromkeys([*names, *opened]), public)


class Registering:
    """The part that servers of `grpc` and `grpc.aio` share: services, ports, and the layer of the start."""

    def __init__(
        self,
        inner: Any,
        interceptor: Any,
        make_layer: Callable[[Policy], Layer],
        public: Sequence[str],
    ):
        self._inner = inner
        self._interceptor = interceptor
        self._make_layer = make_layer
        self._public = public
        self._services = ServedServices()

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[Any]) -> None:
        """Registers handlers, as the server inside does."""
        handlers = tuple(generic_rpc_handlers)
        self._services.add_generic(handlers)
        self._inner.add_generic_rpc_handlers(handlers)

    def add_registered_method_handlers(self, service_name: str, method_handlers: Any) -> None:
        """Registers handlers, as the server inside does."""
        self._services.add(service_name)
        self._inner.add_registered_method_handlers(service_name, method_handlers)

    def add_insecure_port(self, address: str) -> int:
        """Opens a plaintext port: for this machine, and behind a proxy that ends TLS."""
        return int(self._inner.add_insecure_port(address))

    def add_secure_port(self, address: str, server_credentials: grpc.ServerCredentials) -> int:
        """Opens a port with TLS."""
        return int(self._inner.add_secure_port(address, server_credentials))

    def _protect(self) -> None:
        self._interceptor.layer = self._make_layer(self._services.policy(self._public))

    def _close(self) -> None:
        layer = self._interceptor.layer
        if layer is not None:
            layer.verifier.close()


class Server(Registering):
    """A `grpc.Server` that starts only with a policy for each of its methods."""

    def start(self) -> None:
        """Starts the server. Raises PolicyError, which names every fault."""
        self._protect()
        self._inner.start()

    def stop(self, grace: float | None) -> Any:
        """Stops the server."""
        self._close()
        return self._inner.stop(grace)

    def wait_for_termination(self, timeout: float | None = None) -> bool:
        """Waits until the server has stopped, as `grpc.Server` does."""
        return bool(self._inner.wait_for_termination(timeout))


def server(
    thread_pool: futures.ThreadPoolExecutor,
    *,
    issuers: Sequence[TrustedIssuer],
    public: Sequence[str] = (),
    observe: bool = False,
    on_denied: OnDenied | None = None,
    interceptors: Sequence[Any] = (),
    **options: Any,
) -> Server:
    """Returns a server whose methods demand tokens of these issuers.

    `public`: the paths of methods that are open to all callers, in spite of their annotations. `observe`:
    decide, record and let every call pass. `interceptors` come after the layer. `options` are those of
    `grpc.server`.
    """
    verifier = Verifier(issuers)
    first = AuthorizationInterceptor()
    inner = grpc.server(thread_pool, interceptors=(first, *interceptors), **options)
    return Server(
        inner,
        first,
        lambda policy: Layer(verifier, policy, observe=observe, on_denied=on_denied),
        public,
    )
