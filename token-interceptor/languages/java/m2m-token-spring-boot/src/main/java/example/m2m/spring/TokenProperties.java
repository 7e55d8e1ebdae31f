package example.m2m.spring;

import java.nio.file.Path;
import java.util.List;
import org.springframework.boot.context.properties.ConfigurationProperties;
import org.springframework.boot.context.properties.bind.DefaultValue;

/**
 * The properties of both layers.
 *
 * @param issuer the issuer's identifier, an {@code https} URL; without it nothing is configured
 * @param caFile a PEM file with the roots of the issuer's certificate, if Java's own do not suffice
 * @param clientId the ID of this application as a client; without it the client layer is not configured
 * @param clientSecret the client's secret
 * @param open services or methods that need no token although their annotations do not say so
 * @param observe true to record refusals and let every call pass
 */
@ConfigurationProperties("m2m.token")
public record TokenProperties(
    String issuer,
    Path caFile,
    String clientId,
    String clientSecret,
    @DefaultValue List<String> open,
    @DefaultValue("false") boolean observe) {
  /** Hides the secret. */
  @Override
  public String toString() {
    return "TokenProperties[issuer=" + issuer + ", clientId=" + clientId + ", open=" + open + "]";
  }
}
