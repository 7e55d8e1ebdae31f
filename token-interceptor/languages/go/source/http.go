package source

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"m2m.example/go/internal/destination"
	"m2m.example/go/internal/strict"
	"m2m.example/go/verify"
)

const (
	// metadataAgeMax is the age at which an issuer's metadata are read again. An endpoint may move while the old
	// one still answers.
	metadataAgeMax  = time.Hour
	answerBytesMax  = 256 * 1024
	tokenTypeAccess = "urn:ietf:params:oauth:token-type:access_token"
	grantExchange   = "urn:ietf:params:oauth:grant-type:token-exchange"
	assertionType   = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
)

// Client is a client of an issuer, and its proof: a secret, or an assertion. One of the two is set.
type Client struct {
	// ID is the client ID.
	ID string
	// Secret is the client secret (RFC 6749 section 2.3.1).
	Secret Secret
	// Assertion returns a signed statement in place of a secret (RFC 7523): a workload's own token, or a JWT
	// signed by a key.
	Assertion func(ctx context.Context) (string, error)
}

// HTTP is an issuer with an OAuth token endpoint. The zero values of optional fields are the defaults.
type HTTP struct {
	// Issuer is the issuer identifier, at which the metadata are found (RFC 8414, OpenID discovery).
	Issuer string
	// TokenEndpoint is the URL of the token endpoint, for an issuer without metadata.
	TokenEndpoint string
	// Client is this program.
	Client Client
	// AudienceParameter names the audience in the form: "audience" (the default), "resource" (RFC 8707), or "-"
	// for none.
	AudienceParameter string
	// SecretInForm sends a secret in the form, not in the header. Default: as in the issuer's metadata.
	SecretInForm bool
	// TLS has the roots for the requests. nil: the system's.
	TLS *tls.Config
	// HTTPClient replaces the HTTP client. It must not follow redirects.
	HTTPClient *http.Client
	// AllowPlaintext permits http to any host. An attacker on the network path can then read the secret.
	AllowPlaintext bool
}

// NewHTTP returns a source that obtains the client's own tokens (RFC 6749 section 4.4), and exchanges tokens
// for requests with a Subject (RFC 8693). It makes no request yet.
func NewHTTP(issuer HTTP) (Source, error) {
	if (issuer.Client.Secret == "") == (issuer.Client.Assertion == nil) {
		return nil, errors.New("source: set either Client.Secret or Client.Assertion")
	}
	if err := destination.CheckURL(cmp.Or(issuer.TokenEndpoint, issuer.Issuer), issuer.AllowPlaintext); err != nil {
		return nil, fmt.Errorf("source: the issuer's URL: %w", err)
	}
	if issuer.TokenEndpoint == "" {
		if _, _, err := verify.WellKnown(issuer.Issuer); err != nil {
			return nil, fmt.Errorf("source: %w", err)
		}
	}
	client := issuer.HTTPClient
	if client == nil {
		client = verify.HTTPClient(issuer.TLS)
	}
	return &overHTTP{issuer: issuer, client: client}, nil
}

type overHTTP struct {
	issuer HTTP
	client *http.Client

	mutex  sync.Mutex
	known  *metadata
	readAt time.Time
}

// Format hides the secret from package fmt.
func (o *overHTTP) Format(state fmt.State, _ rune) {
	_, _ = fmt.Fprintf(state, "source.HTTP(%q)", cmp.Or(o.issuer.TokenEndpoint, o.issuer.Issuer))
}

// metadata are the parts of an issuer's metadata that are needed.
type metadata struct {
	tokenEndpoint string
	secretInForm  bool
}

// Fetch posts the form of the grant.
func (o *overHTTP) Fetch(ctx context.Context, request Request) (Issued, error) {
	place, err := o.place(ctx)
	if err != nil {
		return Issued{}, ErrorOf(err)
	}
	form := url.Values{"grant_type": {"client_credentials"}}
	if request.Subject != "" {
		form = url.Values{
			"grant_type": {grantExchange}, "subject_token": {string(request.Subject)}, "subject_token_type": {tokenTypeAccess},
		}
	}
	if parameter := cmp.Or(o.issuer.AudienceParameter, "audience"); request.Audience != "" && parameter != "-" {
		form.Set(parameter, request.Audience)
	}
	if len(request.Scopes) > 0 {
		form.Set("scope", strings.Join(request.Scopes, " "))
	}
	answer, err := o.post(ctx, place, form)
	if err != nil {
		o.forget()
		return Issued{}, ErrorOf(err)
	}
	issued, err := answer.Read(time.Now())
	if err != nil && ErrorOf(err).Refusal == NotRefused || !answer.IsOfTokenEndpoint() {
		// The endpoint may have moved, so the next request reads the metadata again.
		o.forget()
	}
	return issued, err
}

func (o *overHTTP) post(ctx context.Context, place metadata, form url.Values) (Answer, error) {
	client, authorization := o.issuer.Client, ""
	switch {
	case client.Assertion != nil:
		assertion, err := client.Assertion(ctx)
		if err != nil {
			return Answer{}, err
		}
		form.Set("client_id", client.ID)
		form.Set("client_assertion_type", assertionType)
		form.Set("client_assertion", assertion)
	case place.secretInForm:
		form.Set("client_id", client.ID)
		form.Set("client_secret", string(client.Secret))
	default:
		// RFC 6749 section 2.3.1: both halves are encoded, or a colon in the ID would move their border.
		pair := url.QueryEscape(client.ID) + ":" + url.QueryEscape(string(client.Secret))
		authorization = "Basic " + base64.StdEncoding.EncodeToString([]byte(pair))
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, place.tokenEndpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return Answer{}, err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Accept", "application/json")
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	return o.do(request)
}

func (o *overHTTP) do(request *http.Request) (Answer, error) {
	response, err := o.client.Do(request)
	if err != nil {
		return Answer{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, answerBytesMax+1))
	if err == nil && len(body) > answerBytesMax {
		err = errors.New("the answer is too long")
	}
	return Answer{response.StatusCode, response.Header, body}, err
}

func (o *overHTTP) forget() {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	o.readAt = time.Time{}
}

// place returns the token endpoint. If the metadata cannot be read again, the old ones are used: the endpoint
// may still be there.
func (o *overHTTP) place(ctx context.Context) (metadata, error) {
	if o.issuer.TokenEndpoint != "" {
		return metadata{o.issuer.TokenEndpoint, o.issuer.SecretInForm}, nil
	}
	o.mutex.Lock()
	known, readAt := o.known, o.readAt
	o.mutex.Unlock()
	if known != nil && time.Since(readAt) < metadataAgeMax {
		return *known, nil
	}
	found, err := o.discover(ctx)
	if err != nil {
		if known != nil {
			return *known, nil
		}
		return metadata{}, err
	}
	o.mutex.Lock()
	o.known, o.readAt = &found, time.Now()
	o.mutex.Unlock()
	return found, nil
}

func (o *overHTTP) discover(ctx context.Context) (found metadata, err error) {
	openid, oauth, err := verify.WellKnown(o.issuer.Issuer)
	if err != nil {
		return metadata{}, err
	}
	for _, place := range []string{oauth, openid} {
		if found, err = o.read(ctx, place); err == nil {
			return found, nil
		}
	}
	return metadata{}, err
}

func (o *overHTTP) read(ctx context.Context, place string) (metadata, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, place, nil)
	if err != nil {
		return metadata{}, err
	}
	answer, err := o.do(request)
	if err != nil {
		return metadata{}, err
	}
	if answer.Status != http.StatusOK {
		return metadata{}, fmt.Errorf("the issuer's metadata: status %d", answer.Status)
	}
	members, err := strict.Object(answer.Body)
	if err != nil {
		return metadata{}, fmt.Errorf("the issuer's metadata: %w", err)
	}
	// RFC 8414 section 3.3, to the letter: another issuer's metadata would send this client's credentials to
	// another's endpoint.
	if members["issuer"] != o.issuer.Issuer {
		return metadata{}, errors.New("the metadata are those of another issuer")
	}
	endpoint, _ := members["token_endpoint"].(string)
	if strings.HasPrefix(o.issuer.Issuer, "https:") && !strings.HasPrefix(endpoint, "https:") {
		return metadata{}, errors.New("the metadata name no usable token endpoint")
	}
	if err := destination.CheckURL(endpoint, o.issuer.AllowPlaintext); err != nil {
		return metadata{}, fmt.Errorf("the token endpoint: %w", err)
	}
	methods, _ := members["token_endpoint_auth_methods_supported"].([]any)
	// RFC 8414 section 2: the default is client_secret_basic.
	formOnly := slices.Contains(methods, any("client_secret_post")) && !slices.Contains(methods, any("client_secret_basic"))
	return metadata{endpoint, o.issuer.SecretInForm || formOnly}, nil
}
