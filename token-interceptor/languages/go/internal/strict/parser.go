package strict

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

type parser struct {
	text    []byte
	at      int
	lenient bool
}

func (p *parser) whole(depth int, member func(string, []byte, any) error) error {
	p.space()
	if p.peek() != '{' {
		return errSyntax
	}
	if err := p.members(depth-1, member); err != nil {
		return err
	}
	p.space()
	if p.at != len(p.text) {
		return errors.New("text follows the JSON object")
	}
	return nil
}

func (p *parser) space() {
	for p.at < len(p.text) {
		switch p.text[p.at] {
		case ' ', '\t', '\n', '\r':
			p.at++
		default:
			return
		}
	}
}

// peek returns 0 at the end: a byte that begins no value.
func (p *parser) peek() byte {
	if p.at < len(p.text) {
		return p.text[p.at]
	}
	return 0
}

func (p *parser) take(wanted byte) bool {
	if p.peek() != wanted {
		return false
	}
	p.at++
	return true
}

func (p *parser) value(depth int) (any, error) {
	p.space()
	switch next := p.peek(); {
	case next == '{':
		return p.object(depth)
	case next == '[':
		return p.array(depth)
	case next == '"':
		return p.string()
	case next == '-' || (next >= '0' && next <= '9'):
		return p.number()
	case bytes.HasPrefix(p.text[p.at:], []byte("true")):
		p.at += 4
		return true, nil
	case bytes.HasPrefix(p.text[p.at:], []byte("false")):
		p.at += 5
		return false, nil
	case bytes.HasPrefix(p.text[p.at:], []byte("null")):
		p.at += 4
		return nil, nil
	default:
		return nil, errSyntax
	}
}

func (p *parser) object(depth int) (any, error) {
	if depth == 0 {
		return nil, errors.New("nested too deeply")
	}
	members := map[string]any{}
	err := p.members(depth-1, func(name string, _ []byte, value any) error {
		if _, twice := members[name]; twice && !p.lenient {
			return errors.New("a member occurs twice")
		}
		members[name] = value
		return nil
	})
	return members, err
}

func (p *parser) members(depth int, member func(string, []byte, any) error) error {
	p.at++ // {
	p.space()
	if p.take('}') {
		return nil
	}
	for {
		p.space()
		if p.peek() != '"' {
			return errSyntax
		}
		name, err := p.string()
		if err != nil {
			return err
		}
		p.space()
		if !p.take(':') {
			return errSyntax
		}
		p.space()
		from := p.at
		value, err := p.value(depth)
		if err != nil {
			return err
		}
		if err := member(name, p.text[from:p.at], value); err != nil {
			return err
		}
		p.space()
		if p.take('}') {
			return nil
		}
		if !p.take(',') {
			return errSyntax
		}
	}
}

func (p *parser) array(depth int) (any, error) {
	if depth == 0 {
		return nil, errors.New("nested too deeply")
	}
	p.at++ // [
	items := []any{}
	p.space()
	if p.take(']') {
		return items, nil
	}
	for {
		item, err := p.value(depth - 1)
		if err != nil {
			return nil, err
		}
		items = append(items, item)
		p.space()
		if p.take(']') {
			return items, nil
		}
		if !p.take(',') {
			return nil, errSyntax
		}
	}
}

// string reads a text in quotes. Damaged UTF-8 and half a surrogate pair are errors.
func (p *parser) string() (string, error) {
	p.at++ // "
	from := p.at
	var text []byte // nil until there is an escape
	for p.at < len(p.text) {
		switch next := p.text[p.at]; {
		case next == '"':
			plain := p.text[from:p.at]
			if text != nil {
				plain = append(text, plain...)
			}
			p.at++
			if !utf8.Valid(plain) {
				return "", errors.New("a text is not UTF-8")
			}
			return string(plain), nil
		case next < 0x20:
			return "", errSyntax
		case next == '\\':
			text = append(text, p.text[from:p.at]...)
			escaped, err := p.escape()
			if err != nil {
				return "", err
			}
			text = utf8.AppendRune(text, escaped)
			from = p.at
		default:
			p.at++
		}
	}
	return "", errSyntax
}

func (p *parser) escape() (rune, error) {
	p.at++ // \
	kind := p.peek()
	p.at++
	switch kind {
	case '"', '\\', '/':
		return rune(kind), nil
	case 'b':
		return '\b', nil
	case 'f':
		return '\f', nil
	case 'n':
		return '\n', nil
	case 'r':
		return '\r', nil
	case 't':
		return '\t', nil
	case 'u':
	default:
		return 0, errSyntax
	}
	first, err := p.hex()
	if err != nil || !utf16.IsSurrogate(first) {
		return first, err
	}
	rest := p.at
	if p.take('\\') && p.take('u') {
		second, err := p.hex()
		if err != nil {
			return 0, err
		}
		if whole := utf16.DecodeRune(first, second); whole != utf8.RuneError {
			return whole, nil
		}
	}
	if !p.lenient {
		return 0, errors.New("half of a surrogate pair")
	}
	p.at = rest
	return utf8.RuneError, nil
}

func (p *parser) hex() (rune, error) {
	if len(p.text)-p.at < 4 {
		return 0, errSyntax
	}
	digits := string(p.text[p.at : p.at+4])
	if strings.ContainsAny(digits, "+-_") {
		return 0, errSyntax
	}
	code, err := strconv.ParseUint(digits, 16, 16)
	if err != nil {
		return 0, errSyntax
	}
	p.at += 4
	return rune(code), nil
}

// number reads a number by RFC 8259 section 6. One that is beyond a double's range is an error.
func (p *parser) number() (any, error) {
	from := p.at
	p.take('-')
	if !p.take('0') && !p.digits() {
		return nil, errSyntax
	}
	if p.take('.') && !p.digits() {
		return nil, errSyntax
	}
	if p.take('e') || p.take('E') {
		if !p.take('+') {
			p.take('-')
		}
		if !p.digits() {
			return nil, errSyntax
		}
	}
	text := string(p.text[from:p.at])
	if _, err := strconv.ParseFloat(text, 64); err != nil && !p.lenient {
		return nil, errors.New("a number is out of range")
	}
	return json.Number(text), nil
}

func (p *parser) digits() bool {
	from := p.at
	for p.peek() >= '0' && p.peek() <= '9' {
		p.at++
	}
	return p.at > from
}
