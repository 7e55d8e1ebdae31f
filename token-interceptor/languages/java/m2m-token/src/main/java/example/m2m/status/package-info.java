/** The answers to calls that do not get through, and the mark of a refusal by a server layer. */
package example.m2m.status;
