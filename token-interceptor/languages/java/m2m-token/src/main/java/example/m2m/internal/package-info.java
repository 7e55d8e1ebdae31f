/** Internals of the layers. They may change in every release. */
package example.m2m.internal;
