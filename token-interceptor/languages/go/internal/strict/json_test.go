package strict

import (
	"strings"
	"testing"
)

func TestObjectReadsWhatIsWellFormed(t *testing.T) {
	text := ` {"a":1,"b":[true,false,null,"\u00e9\ud83d\ude00\n"],"c":{"d":-1.5e3},"e":"","f":0} `
	members, err := Object([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if text := members["b"].([]any)[3]; text != "é😀\n" {
		t.Fatalf("%q", text)
	}
	if _, whole := Whole(members["c"].(map[string]any)["d"]); whole {
		t.Fatal("a number with a fraction is not whole")
	}
	if number, whole := Whole(members["a"]); number != 1 || !whole {
		t.Fatal(number, whole)
	}
}

func TestObjectRejectsWhatTwoParsersReadDifferently(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 9) + "1" + strings.Repeat("}", 9)
	for _, text := range []string{
		"", "[]", "1", `{"a":1,"a":2}`, `{"a":1,"\u0061":2}`, `{"x":{"a":1,"a":2}}`, `{} {}`, `{}x`, `{"a":01}`,
		`{"a":1.}`, `{"a":.5}`, `{"a":+1}`, `{"a":1e}`, `{"a":1e999}`, `{"a":"\ud83d"}`, `{"a":"\ude00\ud83d"}`,
		`{"a":"\x"}`, "{\"a\":\"\n\"}", "{\"a\":\"\xff\"}", `{"a":nul}`, `{"a":1,}`, `{,}`, `{"a" 1}`, `{'a':1}`,
		`{"a":"\u00+1"}`, "\ufeff{}", deep, `{"a":tru`, `{"a"`, `{"a":"`, `{"a":"\`, `{"a":"\u00`, `{"a":[1 2]}`, `{"a":[`,
	} {
		if _, err := Object([]byte(text)); err == nil {
			t.Errorf("accepted: %q", text)
		}
	}
	if _, err := Object([]byte(strings.Repeat(`{"a":`, 8) + "1" + strings.Repeat("}", 8))); err != nil {
		t.Error("eight levels are allowed:", err)
	}
}

func TestMembersReportsRepeatedOnes(t *testing.T) {
	var raw []string
	err := Members([]byte(`{"a":1, "a" : "2","b":{"c":1,"c":2}}`), func(name string, text []byte, _ any) error {
		raw = append(raw, name+string(text))
		return nil
	})
	if joined := strings.Join(raw, " "); err != nil || joined != `a1 a"2" b{"c":1,"c":2}` {
		t.Fatal(joined, err)
	}
}

func TestMembersIgnoresOddValues(t *testing.T) {
	text := `{"a":"\ud83d","b":"\ud83d\u0041","c":1e999,"d":` + strings.Repeat("[", 500) + strings.Repeat("]", 500) + `,"e":"x"}`
	var last any
	err := Members([]byte(text), func(_ string, _ []byte, value any) error {
		last = value
		return nil
	})
	if err != nil || last != "x" {
		t.Fatal(last, err)
	}
	if Members([]byte(`{"a":"\ud83d\x"}`), func(string, []byte, any) error { return nil }) == nil {
		t.Fatal("no escape at all")
	}
}

func TestBase64IsStrict(t *testing.T) {
	if decoded, err := Base64("YWI"); err != nil || string(decoded) != "ab" {
		t.Fatal(decoded, err)
	}
	for _, text := range []string{"YWI=", "YWJ", "YW\nI", "YWI\r\n", "Y+I", "YW I", "Y"} {
		if _, err := Base64(text); err == nil {
			t.Errorf("accepted: %q", text)
		}
	}
}

func FuzzObject(f *testing.F) {
	f.Add([]byte(`{"a":[1,{"b":"\u0041"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		_, _ = Object(text)
		_ = Members(text, func(string, []byte, any) error { return nil })
	})
}
