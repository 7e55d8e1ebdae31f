// Package destination checks where credentials and tokens may be sent: over TLS, or to this machine.
package destination

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"strings"
)

// ErrPlaintext is the error of a plaintext destination on another machine. An attacker on the network path
// could read the token and use it.
var ErrPlaintext = errors.New("plaintext to another machine is refused: use TLS")

// CheckURL accepts https, and http to this machine. With plaintext it accepts http to any host.
func CheckURL(text string, plaintext bool) error {
	parsed, err := url.Parse(text)
	if err != nil || parsed.Host == "" {
		return errors.New("not a URL")
	}
	switch parsed.Scheme {
	case "https":
		return nil
	case "http":
		if plaintext || IsLoopback(parsed.Hostname()) {
			return nil
		}
		return ErrPlaintext
	default:
		return errors.New("not an http or https URL")
	}
}

// IsLoopback returns true for localhost and for loopback addresses.
func IsLoopback(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	address, err := netip.ParseAddr(host)
	return err == nil && address.Unmap().IsLoopback()
}

// IsLoopbackTarget returns true for a gRPC target on this machine: a loopback host, or a Unix socket.
func IsLoopbackTarget(target string) bool {
	for _, unix := range []string{"unix:", "unix-abstract:"} {
		if strings.HasPrefix(target, unix) {
			return true
		}
	}
	if _, rest, found := strings.Cut(target, "://"); found {
		_, target, _ = strings.Cut(rest, "/")
	} else {
		for _, scheme := range []string{"dns:", "passthrough:", "ipv4:", "ipv6:"} {
			target = strings.TrimPrefix(target, scheme)
		}
	}
	for _, one := range strings.Split(target, ",") {
		host, _, err := net.SplitHostPort(one)
		if err != nil {
			host = strings.Trim(one, "[]")
		}
		if !IsLoopback(host) {
			return false
		}
	}
	return true
}
