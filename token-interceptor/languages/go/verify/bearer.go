package verify

import "strings"

// Bearer returns the one bearer token among the values of a call's authorization field. RFC 6750 section 2.1.
//
// No value, and another scheme, both read as missing credentials (section 3.1). Two values are malformed: a
// proxy may read the first and this layer the last.
func Bearer(authorization []string) (string, error) {
	const scheme = "bearer"
	if len(authorization) == 0 {
		return "", refuse(credentialsMissing)
	}
	if len(authorization) > 1 {
		return "", credentialsMalformed.about("authorization", "several values", "one")
	}
	value := authorization[0]
	if len(value) < len(scheme) || !strings.EqualFold(value[:len(scheme)], scheme) {
		return "", refuse(credentialsMissing)
	}
	rest := value[len(scheme):]
	if rest != "" && rest[0] != ' ' {
		return "", refuse(credentialsMissing)
	}
	token := strings.TrimLeft(rest, " ")
	if token == "" {
		return "", credentialsMalformed.about("authorization", "no token", "one")
	}
	return token, nil
}
