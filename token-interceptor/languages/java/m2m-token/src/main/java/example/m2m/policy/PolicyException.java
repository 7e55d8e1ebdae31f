package example.m2m.policy;

import java.util.List;

/** The error of a policy that does not fit the served methods. Its message names every fault. */
public final class PolicyException extends IllegalStateException {
  private static final long serialVersionUID = 1;

  private final List<String> faults;

  /** Creates an error of these faults. */
  public PolicyException(List<String> faults) {
    super("the policy does not fit: " + String.join("; ", faults));
    this.faults = List.copyOf(faults);
  }

  /** Returns every fault. */
  public List<String> faults() {
    return faults;
  }
}
