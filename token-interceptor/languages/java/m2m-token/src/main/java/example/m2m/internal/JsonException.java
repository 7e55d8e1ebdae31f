package example.m2m.internal;

/** The error of a text that is not JSON of the expected form. It never quotes the text. */
public final class JsonException extends Exception {
  private static final long serialVersionUID = 1;

  /** Creates an error with a text that is fit for logs. */
  public JsonException(String message) {
    super(message);
  }
}
