package example.m2m.conformance;

import com.google.protobuf.ByteString;
import com.google.protobuf.DescriptorProtos.FileDescriptorProto;
import com.google.protobuf.DescriptorProtos.FileDescriptorSet;
import com.google.protobuf.Descriptors.DescriptorValidationException;
import com.google.protobuf.Descriptors.FileDescriptor;
import com.google.protobuf.Descriptors.MethodDescriptor;
import com.google.protobuf.Descriptors.ServiceDescriptor;
import com.google.protobuf.InvalidProtocolBufferException;
import io.grpc.MethodDescriptor.Marshaller;
import io.grpc.MethodDescriptor.MethodType;
import io.grpc.protobuf.ProtoMethodDescriptorSupplier;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/** The services of a descriptor set, as generated code would describe them. Messages are bytes. */
final class Dynamic {
  private final Map<String, FileDescriptorProto> sources = new HashMap<>();
  private final Map<String, FileDescriptor> files = new HashMap<>();

  Dynamic(ByteString descriptorSet) throws InvalidProtocolBufferException, DescriptorValidationException {
    var set = FileDescriptorSet.parseFrom(descriptorSet);
    set.getFileList().forEach(file -> sources.put(file.getName(), file));
    for (FileDescriptorProto file : set.getFileList()) {
      build(file.getName());
    }
  }

  private FileDescriptor build(String name) throws DescriptorValidationException {
    FileDescriptor built = files.get(name);
    if (built != null) {
      return built;
    }
    FileDescriptorProto source = sources.get(name);
    var imports = new ArrayList<FileDescriptor>();
    for (String imported : source.getDependencyList()) {
      imports.add(build(imported));
    }
    built = FileDescriptor.buildFrom(source, imports.toArray(new FileDescriptor[0]));
    files.put(name, built);
    return built;
  }

  Optional<ServiceDescriptor> service(String name) {
    return files.values().stream()
        .flatMap(file -> file.getServices().stream())
        .filter(service -> service.getFullName().equals(name))
        .findFirst();
  }

  List<ServiceDescriptor> services() {
    return files.values().stream().flatMap(file -> file.getServices().stream()).toList();
  }

  /** Returns a service as gRPC describes it. A service that the set lacks has no schema. */
  io.grpc.ServiceDescriptor described(String name) {
    var described = io.grpc.ServiceDescriptor.newBuilder(name);
    service(name)
        .ifPresent(
            service -> {
              described.setSchemaDescriptor(new Schema(service, null));
              service.getMethods().forEach(method -> described.addMethod(method(method)));
            });
    return described.build();
  }

  /** Returns the method at a path. One that the set lacks has no schema, and is unary. */
  io.grpc.MethodDescriptor<byte[], byte[]> method(String path) {
    String name = path.startsWith("/") ? path.substring(1) : path;
    for (ServiceDescriptor service : services()) {
      for (MethodDescriptor method : service.getMethods()) {
        if (name.equals(service.getFullName() + "/" + method.getName())) {
          return method(method);
        }
      }
    }
    return method(name, MethodType.UNARY, null);
  }

  /** Returns a method of this class as what it is. */
  @SuppressWarnings("unchecked")
  static io.grpc.MethodDescriptor<byte[], byte[]> ofBytes(io.grpc.MethodDescriptor<?, ?> method) {
    return (io.grpc.MethodDescriptor<byte[], byte[]>) method;
  }

  private static io.grpc.MethodDescriptor<byte[], byte[]> method(MethodDescriptor method) {
    MethodType type =
        method.isClientStreaming()
            ? method.isServerStreaming() ? MethodType.BIDI_STREAMING : MethodType.CLIENT_STREAMING
            : method.isServerStreaming() ? MethodType.SERVER_STREAMING : MethodType.UNARY;
    String name = method.getService().getFullName() + "/" + method.getName();
    return method(name, type, new Schema(method.getService(), method));
  }

  private static io.grpc.MethodDescriptor<byte[], byte[]> method(String name, MethodType type, Schema schema) {
    return io.grpc.MethodDescriptor.<byte[], byte[]>newBuilder()
        .setFullMethodName(name)
        .setType(type)
        .setRequestMarshaller(new Bytes())
        .setResponseMarshaller(new Bytes())
        .setSchemaDescriptor(schema)
        .build();
  }

  private record Schema(ServiceDescriptor service, MethodDescriptor method)
      implements ProtoMethodDescriptorSupplier {
    @Override
    public FileDescriptor getFileDescriptor() {
      return service.getFile();
    }

    @Override
    public ServiceDescriptor getServiceDescriptor() {
      return service;
    }

    @Override
    public MethodDescriptor getMethodDescriptor() {
      return method;
    }
  }

  private static final class Bytes implements Marshaller<byte[]> {
    @Override
    public InputStream stream(byte[] value) {
      return new ByteArrayInputStream(value);
    }

    @Override
    public byte[] parse(InputStream stream) {
      try {
        return stream.readAllBytes();
      } catch (IOException failed) {
        throw new UncheckedIOException(failed);
      }
    }
  }
}
