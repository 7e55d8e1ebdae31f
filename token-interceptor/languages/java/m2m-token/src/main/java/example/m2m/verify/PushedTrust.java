package example.m2m.verify;

import com.google.protobuf.Timestamp;
import example.m2m.internal.Moment;
import example.m2m.internal.Timeline;
import example.m2m.token.v1.GetIssuerRequest;
import example.m2m.token.v1.GetIssuerResponse;
import example.m2m.token.v1.Key;
import example.m2m.token.v1.KeyState;
import example.m2m.token.v1.Revocation;
import example.m2m.token.v1.TrustServiceGrpc;
import example.m2m.token.v1.WatchTrustRequest;
import example.m2m.token.v1.WatchTrustResponse;
import example.m2m.verify.Schedule.UnknownKey;
import io.grpc.Channel;
import io.grpc.Context;
import io.grpc.Status;
import io.grpc.stub.ClientCallStreamObserver;
import io.grpc.stub.ClientResponseObserver;
import io.grpc.stub.StreamObserver;
import java.lang.System.Logger.Level;
import java.time.Duration;
import java.time.Instant;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

/**
 * Keys and revocations that the issuer pushes: {@code m2m.token.v1.TrustService.WatchTrust}.
 *
 * <p>A key arrives before its first use, and a revocation within a second. So while the stream is live, an
 * unknown key is not the issuer's. When the stream is lost, the last state is used until it is too old. Then
 * every token is rejected, as a revocation may have been missed.
 */
final class PushedTrust implements KeySource {
  private static final System.Logger LOG = System.getLogger(PushedTrust.class.getName());
  /** The longest silence on the stream. The server sends a heartbeat every 10 seconds. */
  private static final Duration SILENCE_MAX = Duration.ofSeconds(30);
  private static final Duration CONNECT_MAX = Duration.ofSeconds(5);
  private static final Duration FIRST_PAUSE = Duration.ofMillis(100);
  private static final Duration PAUSE_MAX = Duration.ofSeconds(5);

  private final String issuer;
  private final TrustServiceGrpc.TrustServiceStub stub;
  private final Duration staleAfter;
  private final Timeline timeline;
  /** Only ever added to: a snapshot takes nothing back. */
  private final Revocations revocations = new Revocations();

  /** JWKs by {@code kid}: what the messages add up to. */
  private final Map<String, String> jwks = new TreeMap<>();
  private String stateVersion = "";
  private boolean keysChanged;
  private int failures;
  private Stream stream;
  private CompletableFuture<Void> news = new CompletableFuture<>();

  private volatile boolean live;
  private volatile boolean closed;
  private volatile Moment heard;
  private volatile Optional<KeySet> keys = Optional.empty();
  private volatile long version;

  PushedTrust(String issuer, Channel channel, Duration staleAfter, Timeline timeline) {
    this.issuer = issuer;
    this.stub = TrustServiceGrpc.newStub(channel);
    this.staleAfter = staleAfter;
    this.timeline = timeline;
    this.heard = timeline.now();
  }

  /** Opens the stream. */
  PushedTrust started() {
    connect();
    return this;
  }

  @Override
  public Optional<KeySet> keys() {
    return keys;
  }

  @Override
  public long version() {
    return version;
  }

  @Override
  public Optional<Revocations> revocations() {
    return Optional.of(revocations);
  }

  @Override
  public UnknownKey unknownKey() {
    if (live && !timeline.now().hasReached(heard.plus(SILENCE_MAX))) {
      return new UnknownKey.Refuse();
    }
    return keys.isEmpty() ? new UnknownKey.Wait() : new UnknownKey.Unavailable(PAUSE_MAX);
  }

  @Override
  public boolean isStale(Instant now) {
    return new Moment(timeline.nanos(), now).hasReached(heard.plus(staleAfter).plus(Duration.ofSeconds(1)));
  }

  @Override
  public synchronized CompletableFuture<Void> news() {
    return news;
  }

  @Override
  public void close() {
    closed = true;
    synchronized (this) {
      if (stream != null) {
        stream.end("closed");
      }
    }
  }

  private void connect() {
    var next = new Stream();
    synchronized (this) {
      if (closed) {
        return;
      }
      stream = next;
    }
    // Not in the context of the call that happens to run: its deadline is not this stream's.
    Context.ROOT.run(next::describe);
  }

  private synchronized void lost(Stream which, String reason) {
    if (stream != which) {
      return;
    }
    live = false;
    stream = null;
    if (closed) {
      return;
    }
    LOG.log(Level.WARNING, "lost the trust stream of {0}: {1}; the last state stays in use", issuer, reason);
    long pause = Math.min(PAUSE_MAX.toNanos(), FIRST_PAUSE.toNanos() << Math.min(failures, 10));
    failures++;
    timeline.at(timeline.nanos() + (long) (pause * (0.5 + timeline.draw() / 2)), this::connect);
  }

  private void apply(Stream which, WatchTrustResponse message) {
    CompletableFuture<Void> waiting = null;
    synchronized (this) {
      if (stream != which) {
        return;
      }
      // Revocations first: a key in the same message must not admit a token that the message revokes.
      for (Revocation revocation : message.getRevocationsList()) {
        revoke(revocation);
      }
      keysChanged |=
          message.getSnapshot() || message.getKeysCount() > 0 || message.getRemovedKeyIdsCount() > 0;
      applyKeys(message);
      // The first state is used only once it is complete, as some revocations may still be missing. After
      // that, a distrusted key is removed at once.
      if (keysChanged && (!message.getMoreFollows() || !stateVersion.isEmpty())) {
        hold(KeySet.ofJwks(jwks.values()));
        keysChanged = false;
      }
      if (!message.getMoreFollows()) {
        stateVersion = message.getVersion();
        heard = timeline.now();
        live = true;
        failures = 0;
        revocations.forget(heard.wall().minus(Duration.ofHours(1)));
        waiting = news;
        news = new CompletableFuture<>();
      }
    }
    if (waiting != null) {
      waiting.complete(null);
    }
  }

  private void applyKeys(WatchTrustResponse message) {
    if (message.getSnapshot()) {
      jwks.clear();
    }
    for (Key key : message.getKeysList()) {
      if (key.getState() == KeyState.KEY_STATE_DISTRUSTED) {
        jwks.remove(key.getKeyId());
      } else {
        jwks.put(key.getKeyId(), key.getJwk());
      }
    }
    message.getRemovedKeyIdsList().forEach(jwks::remove);
  }

  private void revoke(Revocation revocation) {
    // Without a time to forget it is kept for good: too much is refused then, never too little.
    long forget = revocation.hasForgetTime() ? seconds(revocation.getForgetTime()) : Long.MAX_VALUE;
    switch (revocation.getTargetCase()) {
      case TOKEN_HASH -> revocations.add(revocation.getTokenHash(), Long.MAX_VALUE, forget);
      case CLIENT_HASH ->
          revocations.add(
              revocation.getClientHash(),
              revocation.hasIssuedBeforeTime() ? seconds(revocation.getIssuedBeforeTime()) : Long.MAX_VALUE,
              forget);
      case TARGET_NOT_SET -> throw new IllegalArgumentException("a revocation of a kind that is unknown here");
    }
  }

  private static long seconds(Timestamp time) {
    return Revocations.after(Instant.ofEpochSecond(time.getSeconds(), time.getNanos()));
  }

  private void hold(KeySet set) {
    if (keys.map(set::isSame).orElse(false)) {
      return;
    }
    LOG.log(Level.INFO, "loaded a new key set of {0}: {1}", issuer, set);
    keys = Optional.of(set);
    version++;
  }

  /** One stream, from the question about the issuer to its end. */
  private final class Stream implements ClientResponseObserver<WatchTrustRequest, WatchTrustResponse> {
    private ClientCallStreamObserver<WatchTrustRequest> call;
    private Runnable alarm = () -> {};

    void describe() {
      stub.withDeadlineAfter(CONNECT_MAX.toSeconds(), TimeUnit.SECONDS)
          .getIssuer(
              GetIssuerRequest.getDefaultInstance(),
              new StreamObserver<>() {
                @Override
                public void onNext(GetIssuerResponse described) {
                  if (described.getIssuer().getIssuer().equals(issuer)) {
                    watch();
                  } else {
                    end("the TrustService is another issuer's");
                  }
                }

                @Override
                public void onError(Throwable error) {
                  end("the issuer does not answer: " + Status.fromThrowable(error).getCode());
                }

                @Override
                public void onCompleted() {}
              });
    }

    private void watch() {
      listen();
      var request = WatchTrustRequest.newBuilder();
      synchronized (PushedTrust.this) {
        request.setSinceVersion(stateVersion);
      }
      stub.watchTrust(request.build(), this);
    }

    private synchronized void listen() {
      alarm.run();
      alarm = timeline.after(SILENCE_MAX, () -> end("it fell silent"));
    }

    void end(String reason) {
      synchronized (this) {
        alarm.run();
        if (call != null) {
          call.cancel(reason, null);
        }
      }
      lost(this, reason);
    }

    @Override
    public synchronized void beforeStart(ClientCallStreamObserver<WatchTrustRequest> starting) {
      call = starting;
    }

    @Override
    public void onNext(WatchTrustResponse message) {
      listen();
      try {
        apply(this, message);
      } catch (IllegalArgumentException unknown) {
        end(unknown.getMessage());
      }
    }

    @Override
    public void onError(Throwable error) {
      end("it broke off: " + Status.fromThrowable(error).getCode());
    }

    @Override
    public void onCompleted() {
      end("the issuer closed it");
    }
  }
}
