package example.m2m.server;

import example.m2m.status.Answer;
import java.util.Optional;

/**
 * The decision on one call, for records of who called what.
 *
 * @param path the called method, {@code /package.Service/Method}
 * @param caller the caller, where the token itself is valid
 * @param refusal the answer to a refused call; none for an admitted one
 * @param detail the failed check, for the log and not for the caller; empty for an admitted call
 * @param observed true if the layer only observes: a refused call was let through
 */
public record Decision(
    String path, Optional<Caller> caller, Optional<Answer> refusal, String detail, boolean observed) {}
