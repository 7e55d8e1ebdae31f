package source

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"m2m.example/go/internal/strict"
)

// descriptionMax is the longest `error_description` that is kept for the log, in characters.
const descriptionMax = 200

// Answer is the answer of a token endpoint (RFC 6749 sections 5.1 and 5.2).
type Answer struct {
	// Status is the HTTP status.
	Status int
	// Header has the header fields. Date and Retry-After are read.
	Header http.Header
	// Body is the body.
	Body []byte
}

// Read returns the token, or an *Error. It is strict about the token and lenient about advisory members. now
// is the client's time.
func (a Answer) Read(now time.Time) (Issued, error) {
	if a.Status == http.StatusOK {
		issued, err := a.token()
		if err != nil {
			return Issued{}, Unavailable(err)
		}
		return issued, nil
	}
	failure := a.refusal()
	if failure == nil {
		failure = Unavailable(fmt.Errorf("the token endpoint answered %d", a.Status))
	}
	failure.RetryAfter = a.retryAfter(now)
	return Issued{}, failure
}

func (a Answer) token() (Issued, error) {
	members, err := readMembers(a.Body)
	switch {
	case err != nil:
		return Issued{}, errors.New("the token endpoint's answer is not a JSON object with one token")
	case members.token == nil:
		return Issued{}, errors.New("the token endpoint's answer has no access_token")
	case members.kind == nil:
		return Issued{}, errors.New("the token endpoint's answer has no token_type")
	case !strings.EqualFold(*members.kind, "bearer"):
		return Issued{}, errors.New("the token endpoint's token is not a bearer token")
	case CheckBearer(*members.token) != nil:
		return Issued{}, errors.New("the token endpoint's access_token is malformed")
	}
	issued := Issued{Token: Secret(*members.token), ExpiresIn: LifetimeDefault}
	if members.expiresIn != nil {
		issued.ExpiresIn = *members.expiresIn
	}
	if members.refreshIn != nil {
		issued.RefreshAfter = *members.refreshIn
	}
	return issued, nil
}

// refusal reads RFC 6749 section 5.2. Overload is no refusal, even if the body says so. Nor is a missing
// endpoint, unless its body has an OAuth error code.
func (a Answer) refusal() *Error {
	if a.Status < 400 || a.Status > 499 || a.Status == http.StatusTooManyRequests || a.Status == http.StatusRequestTimeout {
		return nil
	}
	members, err := strict.Object(a.Body)
	if err != nil {
		return nil
	}
	code, named := members["error"].(string)
	switch {
	case !named, code == "temporarily_unavailable", code == "server_error", code == "slow_down", a.isGone() && !isOAuth(code):
		return nil
	}
	description, _ := members["error_description"].(string)
	return Refuse(RefusalOf(code), fmt.Errorf("%s: %s", printable(code), printable(description)))
}

// IsOfTokenEndpoint returns true if the answer must be a token endpoint's: a token, or an OAuth error code.
// Any other answer may come from another program, at a URL that the token endpoint has left.
func (a Answer) IsOfTokenEndpoint() bool {
	if a.Status >= 200 && a.Status <= 299 {
		members, err := readMembers(a.Body)
		return err == nil && members.token != nil
	}
	members, err := strict.Object(a.Body)
	if err != nil {
		return false
	}
	code, _ := members["error"].(string)
	return !a.isGone() && isOAuth(code)
}

func (a Answer) isGone() bool {
	return a.Status == http.StatusNotFound || a.Status == http.StatusMethodNotAllowed || a.Status == http.StatusGone
}

// isOAuth knows the codes of RFC 6749 sections 4.1.2.1 and 5.2, RFC 8693 section 2.2.2, RFC 8707 section 2.
func isOAuth(code string) bool {
	switch code {
	case "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type",
		"invalid_scope", "invalid_target", "access_denied", "temporarily_unavailable", "server_error", "slow_down":
		return true
	default:
		return false
	}
}

// printable keeps the characters that RFC 6749 section 5.2 allows in an error, so that the text cannot forge
// log lines.
func printable(text string) string {
	kept := 0
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' || kept == descriptionMax {
			return -1
		}
		kept++
		return r
	}, text)
}

// retryAfter reads RFC 9110 section 10.2.3: seconds, or a date by the server's own clock.
func (a Answer) retryAfter(now time.Time) time.Duration {
	text := strings.TrimSpace(a.Header.Get("Retry-After"))
	if seconds, err := strconv.ParseUint(strings.TrimPrefix(text, "+"), 10, 64); err == nil {
		return durationOf(float64(seconds))
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	if servers, err := http.ParseTime(a.Header.Get("Date")); err == nil {
		now = servers
	}
	return max(at.Sub(now), 0)
}

// members are the members of a token response that are read. Unknown members may have any form, and may
// repeat: RFC 6749 section 5.1 makes the client ignore them.
type members struct {
	token, kind          *string
	expiresIn, refreshIn *time.Duration
}

func readMembers(body []byte) (members, error) {
	var found members
	once := func(into **string, value any) error {
		text, ok := value.(string)
		if !ok || *into != nil {
			return errors.New("a member is repeated or no text")
		}
		*into = &text
		return nil
	}
	err := strict.Members(body, func(name string, raw []byte, value any) error {
		switch name {
		case "access_token":
			return once(&found.token, value)
		case "token_type":
			return once(&found.kind, value)
		case "expires_in":
			shortest(&found.expiresIn, raw)
		case "refresh_in":
			shortest(&found.refreshIn, raw)
		}
		return nil
	})
	return found, err
}

// shortest keeps the shortest readable value. An unreadable one counts as absent.
func shortest(into **time.Duration, raw []byte) {
	seconds, ok := secondsOf(string(raw))
	if ok && (*into == nil || seconds < **into) {
		*into = &seconds
	}
}

// secondsOf parses a number of seconds in any form that servers send: 3600, 3600.0, 3.6e3, "3600". It rounds
// down.
func secondsOf(json string) (time.Duration, bool) {
	text := json
	if len(text) >= 2 && text[0] == '"' && text[len(text)-1] == '"' {
		text = text[1 : len(text)-1]
	}
	text = strings.TrimSpace(text)
	// Go also parses "inf", "nan", "0x1p3" and "1_0".
	if strings.Trim(text, "0123456789+-.eE") != "" {
		return 0, false
	}
	seconds, err := strconv.ParseFloat(text, 64)
	if (err != nil && !errors.Is(err, strconv.ErrRange)) || math.Signbit(seconds) {
		return 0, false
	}
	return durationOf(math.Floor(seconds)), true
}

// durationOf caps at the range of a duration.
func durationOf(seconds float64) time.Duration {
	if seconds >= math.MaxInt64/float64(time.Second) {
		return math.MaxInt64
	}
	return time.Duration(seconds) * time.Second
}
