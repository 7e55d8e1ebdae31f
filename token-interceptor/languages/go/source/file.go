package source

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"os"
	"strings"
	"time"

	"m2m.example/go/internal/strict"
)

const (
	fileEarly    = 30 * time.Second // before `exp`: for clock skew and the callee's own time
	fileReread   = time.Minute      // before that, the file is read again
	fileRestMin  = 2 * time.Second  // a shorter rest counts as expired
	fileBytesMax = 64 * 1024
)

// File is a source that reads tokens from the file at this path: a Kubernetes projected token, or a file of
// `token-server agent`. The program that writes the file chooses audience and scopes. It follows gRFC A97.
//
// The file is read at first use, again one minute before its token ends (30 s before `exp`), and again when a
// callee refuses the token. The token is not verified: the callee does that.
type File string

// Fetch reads the file.
func (f File) Fetch(_ context.Context, request Request) (Issued, error) {
	if err := request.Own(); err != nil {
		return Issued{}, err
	}
	file, err := os.Open(string(f))
	if err != nil {
		return Issued{}, Unavailable(err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, fileBytesMax))
	if err != nil {
		return Issued{}, Unavailable(err)
	}
	return ofFile(strings.TrimSpace(string(text)), time.Now())
}

// ofFile returns the token in a file. Text that is no token is a refusal. An expired token is an outage, as
// it may be renewed soon.
func ofFile(token string, now time.Time) (Issued, error) {
	expiry, err := expiryOf(token)
	if err == nil {
		err = CheckBearer(token)
	}
	if err != nil {
		return Issued{}, Refuse(RefusedToken, errors.New("the token file holds no token"))
	}
	rest := time.Duration(math.MaxInt64)
	if seconds := expiry - float64(now.UnixNano())/1e9; seconds < 1e9 {
		rest = time.Duration(seconds*float64(time.Second)) - fileEarly
	}
	if rest < fileRestMin {
		return Issued{}, Unavailable(errors.New("the token in the file has expired"))
	}
	return Issued{Token: Secret(token), ExpiresIn: rest, RefreshAfter: max(rest-fileReread, 0)}, nil
}

// expiryOf reads `exp`, unverified (RFC 7519 section 4.1.4).
func expiryOf(token string) (float64, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return 0, errors.New("not a JWT")
	}
	decoded, err := strict.Base64(parts[1])
	if err != nil {
		return 0, err
	}
	claims, err := strict.Object(decoded)
	if err != nil {
		return 0, err
	}
	exp, ok := claims["exp"].(json.Number)
	if !ok {
		return 0, errors.New("no exp")
	}
	seconds, err := exp.Float64()
	if err == nil && seconds < 0 {
		err = errors.New("exp is negative")
	}
	return seconds, err
}
