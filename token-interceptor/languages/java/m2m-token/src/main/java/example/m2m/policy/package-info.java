/** The policy of each method, read from the annotations {@code m2m.auth.v1} in the descriptors. */
package example.m2m.policy;
