// Package strict reads JSON and base64url so that each text has one meaning.
//
// encoding/json keeps the last of two equal members, repairs damaged text and matches names in any case.
// Where two parsers disagree, a token says one thing to a gateway and another to the service behind it.
package strict

import (
	"encoding/json"
	"errors"
	"strconv"
)

// DepthMax is the nesting depth of objects and arrays, at most.
const DepthMax = 8

// DepthOfForeign is the nesting depth of documents whose unknown members are ignored. It bounds the stack.
const DepthOfForeign = 10_000

var errSyntax = errors.New("not a JSON object")

// Object reads text as one JSON object. It rejects a repeated member, more than eight levels, text that is
// no UTF-8, and text after the object. Numbers are of type json.Number.
func Object(text []byte) (map[string]any, error) {
	p := parser{text: text}
	members := map[string]any{}
	err := p.whole(DepthMax, func(name string, _ []byte, value any) error {
		if _, twice := members[name]; twice {
			return errors.New("a member occurs twice")
		}
		members[name] = value
		return nil
	})
	if err != nil {
		return nil, err
	}
	return members, nil
}

// Members reads text as one JSON object and reports each member, in order, repeated or not. In values it
// accepts repeated members, half of a surrogate pair, and numbers beyond a double's range: they may belong to
// members that are ignored. raw is the value's own text.
func Members(text []byte, member func(name string, raw []byte, value any) error) error {
	p := parser{text: text, lenient: true}
	return p.whole(DepthOfForeign, member)
}

// Whole returns a number that is written as a whole one, without sign, fraction or exponent.
func Whole(value any) (uint64, bool) {
	number, ok := value.(json.Number)
	if !ok {
		return 0, false
	}
	whole, err := strconv.ParseUint(string(number), 10, 64)
	return whole, err == nil
}

// Kind names the JSON type of a value, which may be nil for null. It is for logs: a value may be personal.
func Kind(value any) string {
	switch value := value.(type) {
	case nil:
		return "null"
	case bool:
		return "a boolean"
	case json.Number:
		return "a number"
	case string:
		if value == "" {
			return "an empty string"
		}
		return "a string"
	case []any:
		return "an array"
	default:
		return "an object"
	}
}

// Items returns the texts of the items of a JSON array.
func Items(text []byte) ([][]byte, error) {
	p := parser{text: text, lenient: true}
	items := [][]byte{}
	p.space()
	if !p.take('[') {
		return nil, errSyntax
	}
	p.space()
	if p.take(']') {
		return items, nil
	}
	for {
		p.space()
		from := p.at
		if _, err := p.value(DepthOfForeign - 1); err != nil {
			return nil, err
		}
		items = append(items, p.text[from:p.at])
		p.space()
		if p.take(']') {
			return items, nil
		}
		if !p.take(',') {
			return nil, errSyntax
		}
	}
}
