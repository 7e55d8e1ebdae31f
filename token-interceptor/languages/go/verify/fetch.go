package verify

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"m2m.example/go/internal/destination"
	"m2m.example/go/internal/strict"
)

// documentBytesMax is the largest document that is read from an issuer.
const documentBytesMax = 256 * 1024

// keysOverHTTP fetches a JWK Set, by discovery or from a known URL.
type keysOverHTTP struct {
	client    *http.Client
	issuer    string
	jwksURL   string // empty: by discovery
	plaintext bool
}

func (k keysOverHTTP) fetch(ctx context.Context) (*KeySet, error) {
	url := k.jwksURL
	if url == "" {
		var err error
		if url, err = k.discover(ctx); err != nil {
			return nil, err
		}
	}
	body, err := get(ctx, k.client, url)
	if err != nil {
		return nil, fmt.Errorf("the issuer's key set: %w", err)
	}
	return ParseKeySet(body)
}

// discover reads the issuer's metadata: OpenID Connect Discovery, or else RFC 8414. They are read each time,
// as the URL may change.
func (k keysOverHTTP) discover(ctx context.Context) (string, error) {
	openid, oauth, err := WellKnown(k.issuer)
	if err != nil {
		return "", err
	}
	found, err := k.jwksURI(ctx, openid)
	if err != nil {
		// One of the two documents is enough. If both fail, the first error says more.
		if other, second := k.jwksURI(ctx, oauth); second == nil {
			return other, nil
		}
		return "", err
	}
	return found, nil
}

func (k keysOverHTTP) jwksURI(ctx context.Context, document string) (string, error) {
	body, err := get(ctx, k.client, document)
	if err != nil {
		return "", fmt.Errorf("the issuer's metadata: %w", err)
	}
	members := map[string]any{}
	if err := strict.Members(body, func(name string, _ []byte, value any) error {
		members[name] = value
		return nil
	}); err != nil {
		return "", fmt.Errorf("the issuer's metadata: %w", err)
	}
	if members["issuer"] != k.issuer {
		return "", errors.New("the metadata are those of another issuer")
	}
	uri, _ := members["jwks_uri"].(string)
	if strings.HasPrefix(document, "https:") && !strings.HasPrefix(uri, "https:") {
		return "", errors.New("the metadata name no usable URL of the key set")
	}
	if err := destination.CheckURL(uri, k.plaintext); err != nil {
		return "", fmt.Errorf("the URL of the key set: %w", err)
	}
	return uri, nil
}

// WellKnown returns the URLs of an issuer's metadata. OpenID Connect appends to its path; RFC 8414 section
// 3.1 puts the well-known part between host and path.
func WellKnown(issuer string) (openid, oauth string, err error) {
	parsed, err := url.Parse(issuer)
	if err != nil || parsed.Host == "" || parsed.RawQuery != "" || parsed.Fragment != "" || parsed.ForceQuery {
		return "", "", fmt.Errorf("%q is not the URL of an issuer (RFC 8414 section 2)", issuer)
	}
	path := strings.TrimRight(parsed.Path, "/")
	base := parsed.Scheme + "://" + parsed.Host
	return base + path + "/.well-known/openid-configuration", base + "/.well-known/oauth-authorization-server" + path, nil
}

// HTTPClient returns a client that follows no redirect and whose TLS trusts the roots in config. nil: the
// system's roots.
func HTTPClient(config *tls.Config) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         (&net.Dialer{Timeout: fetchTimeMax}).DialContext,
			TLSClientConfig:     config,
			TLSHandshakeTimeout: fetchTimeMax,
			ForceAttemptHTTP2:   true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func get(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	answer, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d", answer.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, documentBytesMax+1))
	if err == nil && len(body) > documentBytesMax {
		err = fmt.Errorf("more than %d bytes", documentBytesMax)
	}
	return body, err
}
