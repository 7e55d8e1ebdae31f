package example.m2m.verify;

import java.util.Optional;

/**
 * One hop of a delegation: a party that acts for the subject. RFC 8693 section 4.1.
 *
 * @param subject {@code sub}
 * @param clientId {@code client_id}, if the issuer states it
 * @param issuer {@code iss}, if the actor comes from another issuer
 */
public record Actor(String subject, Optional<String> clientId, Optional<String> issuer) {}
