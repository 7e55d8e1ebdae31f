/** The executor of the conformance suite, over the layers of this package. */
package example.m2m.conformance;
