/** Trust in a certificate authority of one's own. */
package example.m2m.tls;
