package example.m2m.client;

import example.m2m.internal.Moment;
import example.m2m.internal.SystemTimeline;
import example.m2m.internal.Timeline;
import example.m2m.server.Caller;
import io.grpc.CallCredentials;
import io.grpc.ClientInterceptor;
import io.grpc.Deadline;
import io.grpc.ServiceDescriptor;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;

/**
 * The tokens of a program's calls: it obtains them, attaches them, and renews them in the background. Safe
 * for concurrent use; share one between channels.
 *
 * <p>Each method has its own request: the audience of its service, and the scopes that the method demands. So
 * a token that leaks from a read cannot write. Methods with equal demands share a token. Public methods, and
 * methods without annotations, get no token. A public method with {@code identify} gets one if the source has
 * one; else the call is anonymous.
 *
 * <p>A token is sent only over TLS, or to this machine itself.
 */
public final class Tokens {
  /** The longest wait of a call that may go without its token. A token usually comes much sooner. */
  private static final Duration OPTIONAL_WAIT_MAX = Duration.ofSeconds(1);

  private final TokenSource source;
  private final Timeline timeline;
  private final Duration waitMax;
  private final boolean onBehalf;
  private final Routes routes;
  private final Map<TokenRequest, FreshToken> standing = new ConcurrentHashMap<>();
  private final Map<TokenRequest, FreshToken> ofCallers;

  private Tokens(Builder builder) {
    this.source = builder.source;
    this.timeline = builder.timeline;
    this.waitMax = builder.waitMax;
    this.onBehalf = builder.onBehalf;
    this.ofCallers = new LeastUsed<>(builder.callersMax);
    this.routes = new Routes(builder.shared, this::standing);
  }

  /** Returns the tokens of {@code source}, with the default settings. */
  public static Tokens of(TokenSource source) {
    return builder(source).build();
  }

  /** Returns settings for tokens of {@code source}. */
  public static Builder builder(TokenSource source) {
    return new Builder(source);
  }

  /** Settings of {@link Tokens}. */
  public static final class Builder {
    private static final Duration WAIT_MAX = Duration.ofSeconds(10);
    private static final int CALLERS_MAX = 10_000;

    private final TokenSource source;
    private final Map<String, TokenRequest> shared = new HashMap<>();
    private Timeline timeline = SystemTimeline.INSTANCE;
    private Duration waitMax = WAIT_MAX;
    private boolean onBehalf;
    private int callersMax = CALLERS_MAX;

    private Builder(TokenSource source) {
      this.source = source;
    }

    /**
     * Makes methods share one token for each audience, with the scopes that they demand together.
     *
     * @param services the services of the methods
     * @param methods paths, {@code /package.Service/Method}, or a prefix of paths and a final {@code *}
     * @throws IllegalArgumentException when a name matches no method that demands a token
     */
    public Builder sharing(List<ServiceDescriptor> services, String... methods) {
      shared.putAll(Routes.shared(services, List.of(methods)));
      return this;
    }

    /**
     * Calls on behalf of the caller whom the program serves: the {@link Caller} in the current context. A
     * call that needs a token gets one in exchange for the caller's (RFC 8693), so the source must be a
     * {@link TokenExchange}.
     *
     * <p>Without a caller, such a call fails. With the program's own token, callers could act with its
     * rights.
     */
    public Builder onBehalfOfCaller() {
      onBehalf = true;
      return this;
    }

    /**
     * Bounds the number of callers whose tokens are held. The least used are exchanged again. Default:
     * 10,000.
     */
    public Builder callersMax(int callers) {
      callersMax = callers;
      return this;
    }

    /** Sets the longest wait of a call for a token, besides its own deadline. Default: 10 s. */
    public Builder waitMax(Duration wait) {
      waitMax = wait;
      return this;
    }

    /** Replaces the machine's clocks, for tests. */
    public Builder timeline(Timeline replacement) {
      timeline = replacement;
      return this;
    }

    /** Builds the tokens. The first call of a method requests its first token. */
    public Tokens build() {
      return new Tokens(this);
    }
  }

  /**
   * Returns an interceptor for channels. It attaches tokens, and sends a unary call once more if the server's
   * layer refused its token before the handler ran.
   */
  public ClientInterceptor interceptor() {
    return new TokenInterceptor(this);
  }

  /**
   * Returns call credentials for stubs, for programs that cannot use an interceptor. They never send a call
   * twice.
   */
  public CallCredentials callCredentials() {
    return new PolicyCredentials(this);
  }

  /** Returns the current token of a request, for calls other than gRPC. It is requested at first use. */
  public CompletableFuture<AccessToken> token(TokenRequest request) {
    return standing(request).get().thenApply(FreshToken.Ready::token);
  }

  Routes routes() {
    return routes;
  }

  Timeline timeline() {
    return timeline;
  }

  boolean isOnBehalf() {
    return onBehalf;
  }

  private FreshToken standing(TokenRequest request) {
    return standing.computeIfAbsent(request, missing -> new FreshToken(source, missing, timeline));
  }

  /** Returns the token itself, or on behalf of callers, the one exchanged for the caller's. */
  FreshToken ownOrCallers(FreshToken own) throws NoToken {
    if (!onBehalf) {
      return own;
    }
    Caller caller = Caller.current().orElseThrow(NoToken::noCaller);
    TokenRequest request = own.request().onBehalfOf(caller.bearer());
    synchronized (ofCallers) {
      return ofCallers.computeIfAbsent(request, missing -> new FreshToken(source, missing, timeline));
    }
  }

  /**
   * Waits for {@code token} until the call's deadline, and no longer than the longest wait.
   *
   * @param optional true for a call that may go without a token
   */
  <T> CompletableFuture<T> bounded(CompletableFuture<T> token, Optional<Deadline> deadline, boolean optional) {
    if (token.isDone()) {
      return token;
    }
    Moment now = timeline.now();
    long patience = (optional && waitMax.compareTo(OPTIONAL_WAIT_MAX) > 0 ? OPTIONAL_WAIT_MAX : waitMax).toNanos();
    long left = deadline.map(end -> end.timeRemaining(TimeUnit.NANOSECONDS)).orElse(Long.MAX_VALUE);
    NoToken late = left <= patience ? NoToken.deadlineExceeded() : NoToken.tooSlow();
    Runnable alarm =
        timeline.at(now.nanos() + Math.min(left, patience), () -> token.completeExceptionally(late));
    token.whenComplete((ready, error) -> alarm.run());
    return token;
  }

  /** A map that drops the entry that was not used for the longest time. */
  private static final class LeastUsed<K, V> extends LinkedHashMap<K, V> {
    private static final long serialVersionUID = 1;

    private final int entriesMax;

    LeastUsed(int entriesMax) {
      super(16, 0.75f, true);
      this.entriesMax = entriesMax;
    }

    @Override
    protected boolean removeEldestEntry(Map.Entry<K, V> eldest) {
      return size() > entriesMax;
    }
  }

  /** Names the requests whose tokens are held. */
  @Override
  public String toString() {
    return "Tokens" + new ArrayList<>(standing.keySet());
  }
}
