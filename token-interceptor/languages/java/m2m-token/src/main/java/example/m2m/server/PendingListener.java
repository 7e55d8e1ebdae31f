package example.m2m.server;

import io.grpc.ServerCall;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;

/** A listener that keeps the events of a call until the decision on it is made. No message arrives before. */
final class PendingListener<Q> extends ServerCall.Listener<Q> {
  private final List<Consumer<ServerCall.Listener<Q>>> kept = new ArrayList<>();
  private ServerCall.Listener<Q> actual;

  synchronized void become(ServerCall.Listener<Q> listener) {
    // The events stay in order, as later ones wait for the lock.
    kept.forEach(event -> event.accept(listener));
    kept.clear();
    actual = listener;
  }

  private synchronized void pass(Consumer<ServerCall.Listener<Q>> event) {
    if (actual == null) {
      kept.add(event);
    } else {
      event.accept(actual);
    }
  }

  @Override
  public void onMessage(Q message) {
    pass(listener -> listener.onMessage(message));
  }

  @Override
  public void onHalfClose() {
    pass(ServerCall.Listener::onHalfClose);
  }

  @Override
  public void onCancel() {
    pass(ServerCall.Listener::onCancel);
  }

  @Override
  public void onComplete() {
    pass(ServerCall.Listener::onComplete);
  }

  @Override
  public void onReady() {
    pass(ServerCall.Listener::onReady);
  }
}
