package example.m2m.server;

import example.m2m.status.Mark;
import io.grpc.ForwardingServerCall.SimpleForwardingServerCall;
import io.grpc.Metadata;
import io.grpc.ServerCall;
import io.grpc.Status;

/** A call whose answers carry no mark: the mark belongs to the layer, so a handler must not set it. */
class UnmarkedCall<Q, A> extends SimpleForwardingServerCall<Q, A> {
  UnmarkedCall(ServerCall<Q, A> call) {
    super(call);
  }

  @Override
  public void sendHeaders(Metadata headers) {
    Mark.remove(headers);
    super.sendHeaders(headers);
  }

  @Override
  public void close(Status status, Metadata trailers) {
    Mark.remove(trailers);
    super.close(status, trailers);
  }
}
