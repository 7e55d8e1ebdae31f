package strict

import (
	"encoding/base64"
	"errors"
	"strings"
)

var decoding = base64.RawURLEncoding.Strict()

// Base64 decodes base64url. It rejects padding, unused bits in the last character, and the line breaks that
// encoding/base64 skips, so that a token has one spelling.
func Base64(text string) ([]byte, error) {
	if strings.ContainsAny(text, "\r\n") {
		return nil, errors.New("not base64url")
	}
	return decoding.DecodeString(text)
}
