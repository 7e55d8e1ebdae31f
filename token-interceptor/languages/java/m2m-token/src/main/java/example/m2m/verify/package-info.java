/**
 * The verifier of access tokens: RFC 9068 section 4, RFC 8725.
 *
 * <p>The signature is checked by Nimbus JOSE + JWT. Everything around it is checked here, more strictly than
 * a general library may.
 */
package example.m2m.verify;
