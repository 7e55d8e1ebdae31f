package example.m2m.status;

import example.m2m.token.v1.ErrorReason;
import io.grpc.Metadata;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/**
 * The mark of a refusal that the server layer itself made.
 *
 * <p>A client layer may send a call again only if no handler ran. The reason in a status cannot prove that,
 * as a handler may pass on a refusal by the next service. So the server layer marks its own answers, and
 * removes the mark from every answer of a handler. The mark names the method's path, as a program without a
 * server layer may pass a mark on.
 */
public final class Mark {
  /** The trailer of the mark. */
  public static final Metadata.Key<String> KEY =
      Metadata.Key.of("token-refused", Metadata.ASCII_STRING_MARSHALLER);

  private Mark() {}

  /** The time at which the layer refused the token. */
  public enum Stage {
    /** Before the handler, which never ran. */
    BEFORE_HANDLER("before-handler"),
    /** After the handler began: a call in progress ends with its token. */
    AFTER_HANDLER("after-handler");

    private final String text;

    Stage(String text) {
      this.text = text;
    }
  }

  /** Returns true if a new token for the same audience may help. Only such a refusal is marked. */
  public static boolean isRenewable(ErrorReason reason) {
    return switch (reason) {
      case ERROR_REASON_TOKEN_INVALID,
          ERROR_REASON_TOKEN_EXPIRED,
          ERROR_REASON_TOKEN_REVOKED,
          ERROR_REASON_TOKEN_KEY_UNKNOWN ->
          true;
      default -> false;
    };
  }

  /** Marks the layer's own answer to a call of {@code path}. */
  public static void put(Metadata trailers, Stage stage, String path) {
    trailers.discardAll(KEY);
    trailers.put(KEY, stage.text + " " + path);
  }

  /** Removes every mark, and returns the stage of the only one that names {@code path}. */
  public static Optional<Stage> take(Metadata trailers, String path) {
    List<String> marks = values(trailers);
    remove(trailers);
    if (marks.size() != 1) {
      return Optional.empty();
    }
    for (Stage stage : Stage.values()) {
      if (marks.get(0).equals(stage.text + " " + path)) {
        return Optional.of(stage);
      }
    }
    return Optional.empty();
  }

  /** Removes every mark. */
  public static void remove(Metadata trailers) {
    trailers.discardAll(KEY);
  }

  /** Returns the values of every mark. */
  public static List<String> values(Metadata trailers) {
    var values = new ArrayList<String>();
    Iterable<String> marks = trailers.getAll(KEY);
    if (marks != null) {
      marks.forEach(values::add);
    }
    return values;
  }
}
