package example.m2m.client;

import example.m2m.status.Mark;
import io.grpc.ClientCall;
import io.grpc.ForwardingClientCallListener.SimpleForwardingClientCallListener;
import io.grpc.Metadata;
import io.grpc.Status;

/** A listener that reads no mark: the program could pass it on as its own. */
class UnmarkedListener<A> extends SimpleForwardingClientCallListener<A> {
  UnmarkedListener(ClientCall.Listener<A> listener) {
    super(listener);
  }

  @Override
  public void onHeaders(Metadata headers) {
    Mark.remove(headers);
    super.onHeaders(headers);
  }

  @Override
  public void onClose(Status status, Metadata trailers) {
    Mark.remove(trailers);
    super.onClose(status, trailers);
  }
}
