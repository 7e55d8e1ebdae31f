package example.m2m.server;

import io.grpc.BindableService;
import io.grpc.ForwardingServerBuilder;
import io.grpc.HandlerRegistry;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Server;
import io.grpc.ServerBuilder;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerMethodDefinition;
import io.grpc.ServerServiceDefinition;
import io.grpc.Status;
import java.io.ByteArrayInputStream;
import java.io.InputStream;
import java.util.ArrayList;
import java.util.List;

/** A server builder that checks the policy of its services when it builds the server. */
final class AuthorizedServerBuilder extends ForwardingServerBuilder<AuthorizedServerBuilder> {
  private final ServerBuilder<?> inner;
  private final Authorization authorization;
  private final List<ServerServiceDefinition> services = new ArrayList<>();
  private HandlerRegistry fallback = new NoServices();

  AuthorizedServerBuilder(ServerBuilder<?> inner, Authorization authorization) {
    this.inner = inner;
    this.authorization = authorization;
  }

  @Override
  protected ServerBuilder<?> delegate() {
    return inner;
  }

  @Override
  public AuthorizedServerBuilder addService(ServerServiceDefinition service) {
    services.add(service);
    return super.addService(service);
  }

  @Override
  public AuthorizedServerBuilder addService(BindableService service) {
    services.add(service.bindService());
    // Some services, such as reflection, are told about the server that they are added to.
    return super.addService(service);
  }

  @Override
  public AuthorizedServerBuilder fallbackHandlerRegistry(HandlerRegistry registry) {
    fallback = registry;
    return this;
  }

  @Override
  public Server build() {
    authorization.protect(inner, services, fallback);
    return inner.build();
  }

  /** A registry without services. */
  static final class NoServices extends HandlerRegistry {
    @Override
    public ServerMethodDefinition<?, ?> lookupMethod(String name, String authority) {
      return null;
    }
  }

  /** A registry that has every method, so that the layer answers calls of unknown ones. */
  static final class EveryMethod extends HandlerRegistry {
    private final HandlerRegistry known;

    EveryMethod(HandlerRegistry known) {
      this.known = known;
    }

    @Override
    public List<ServerServiceDefinition> getServices() {
      return known.getServices();
    }

    @Override
    public ServerMethodDefinition<?, ?> lookupMethod(String name, String authority) {
      ServerMethodDefinition<?, ?> method = known.lookupMethod(name, authority);
      return method == null ? unknown(name) : method;
    }

    private static ServerMethodDefinition<byte[], byte[]> unknown(String name) {
      var method =
          MethodDescriptor.<byte[], byte[]>newBuilder()
              .setFullMethodName(name)
              .setType(MethodDescriptor.MethodType.UNKNOWN)
              .setRequestMarshaller(new Nothing())
              .setResponseMarshaller(new Nothing())
              .build();
      return ServerMethodDefinition.create(method, new Unimplemented());
    }
  }

  private static final class Unimplemented implements ServerCallHandler<byte[], byte[]> {
    @Override
    public ServerCall.Listener<byte[]> startCall(ServerCall<byte[], byte[]> call, Metadata headers) {
      call.close(Status.UNIMPLEMENTED.withDescription("there is no such method"), new Metadata());
      return new ServerCall.Listener<>() {};
    }
  }

  private static final class Nothing implements MethodDescriptor.Marshaller<byte[]> {
    @Override
    public InputStream stream(byte[] value) {
      return new ByteArrayInputStream(value);
    }

    @Override
    public byte[] parse(InputStream stream) {
      return new byte[0];
    }
  }
}
