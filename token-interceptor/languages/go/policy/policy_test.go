package policy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/durationpb"

	catalogv1 "m2m.example/go/conformance/catalog/v1"
	authv1 "m2m.example/go/m2m/auth/v1"
)

const catalog = "conformance.catalog.v1.Catalog"

func TestThePolicyIsReadFromTheLinkedInDescriptors(t *testing.T) {
	table, err := Linked([]string{catalog, "conformance.catalog.v1.Unnamed"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	read := Requirement{AllScopes: []string{"catalog.read"}}
	for path, expected := range map[string]Method{
		"Get":    {Access: Token, Requirement: read},
		"Put":    {Access: Token, Requirement: Requirement{AllScopes: []string{"catalog.write", "catalog.admin"}}},
		"Find":   {Access: Token, Requirement: Requirement{AnyScopes: []string{"catalog.read", "catalog.find"}}},
		"Touch":  {Access: Token},
		"Ping":   {Access: Public},
		"Greet":  {Access: Identify},
		"Tenant": {Access: Token, Requirement: Requirement{Claims: []Claim{{"tenant", []string{"acme", "globex"}}}}},
		"Audit":  {Access: Token, Requirement: Requirement{Callers: []string{"auditor", "batch-*"}}},
		"Delete": {Access: Token, Requirement: Requirement{AllScopes: []string{"catalog.write"}, MaxTokenAge: time.Minute, HasMaxTokenAge: true}},
		"Watch":  {Access: Token, Requirement: read, ServerStreaming: true},
		"Follow": {Access: Token, Requirement: Requirement{AllScopes: read.AllScopes, StreamOutlivesToken: true}, ClientStreaming: true, ServerStreaming: true},
	} {
		expected.Path, expected.Audience = "/"+catalog+"/"+path, "catalog"
		if method, declared := table.Lookup(expected.Path); !declared || fmt.Sprint(method) != fmt.Sprint(expected) {
			t.Errorf("%v, expected %v", method, expected)
		}
	}
	if method, _ := table.Lookup("/conformance.catalog.v1.Unnamed/Get"); method.Audience != "conformance.catalog.v1.Unnamed" {
		t.Error(method)
	}
	for _, path := range []string{"/" + catalog + "/get", "//" + catalog + "/Get", "/" + catalog + "/Get/", catalog + "/Get", "", "/conformance.catalog.v1.Inventory/Get"} {
		if _, declared := table.Lookup(path); declared {
			t.Error(path)
		}
	}
}

func TestAClientRequestsNoMoreThanIsDemanded(t *testing.T) {
	for _, one := range []struct {
		requirement Requirement
		scopes      string
	}{
		{Requirement{}, "[]"}, {Requirement{AllScopes: []string{"b", "a", "b"}}, "[a b]"}, {Requirement{AnyScopes: []string{"y", "x"}}, "[y]"},
		{Requirement{AllScopes: []string{"a"}, AnyScopes: []string{"y", "a"}}, "[a]"},
		{Requirement{AllScopes: []string{"a"}, AnyScopes: []string{"y"}}, "[a y]"},
	} {
		if scopes := fmt.Sprint(one.requirement.RequestedScopes()); scopes != one.scopes {
			t.Error(scopes, one)
		}
	}
}

// changed returns descriptors in which one method has another option.
func changed(t *testing.T, option *authv1.MethodAuthorization) *protoregistry.Files {
	t.Helper()
	file := protodesc.ToFileDescriptorProto(catalogv1.File_conformance_catalog_v1_catalog_proto)
	options := &descriptorpb.MethodOptions{}
	proto.SetExtension(options, authv1.E_Method, option)
	file.Service[0].Method[0].Options = options
	descriptor, err := protodesc.NewFile(file, protoregistry.GlobalFiles)
	if err != nil {
		t.Fatal(err)
	}
	files := &protoregistry.Files{}
	if err := files.RegisterFile(descriptor); err != nil {
		t.Fatal(err)
	}
	return files
}

// unknown adds a field of a later contract.
func unknown[M proto.Message](message M) M {
	message.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 1000, protowire.VarintType), 1))
	return message
}

func TestAnAnnotationThatContradictsItselfIsAFault(t *testing.T) {
	require := func(requirement *authv1.Requirement) *authv1.MethodAuthorization {
		return &authv1.MethodAuthorization{Require: requirement}
	}
	for fault, option := range map[string]*authv1.MethodAuthorization{
		"both public and requires": {Public: true, Require: &authv1.Requirement{}},
		"served without a policy":  {},
		"not a scope":              require(&authv1.Requirement{AllScopes: []string{"a b"}}),
		"not a scope ":             require(&authv1.Requirement{AnyScopes: []string{""}}),
		"must be a client ID":      require(&authv1.Requirement{Callers: []string{"a*b"}}),
		"must be a client ID, or":  require(&authv1.Requirement{Callers: []string{""}}),
		"identify is for public":   {Identify: true},
		"identify is for public ":  {Identify: true, Require: &authv1.Requirement{}},
		"field number 1000":        unknown(&authv1.MethodAuthorization{Public: true}),
		"field number 1000,":       require(unknown(&authv1.Requirement{})),
		"field number 1000, ":      require(&authv1.Requirement{Claims: []*authv1.ClaimRequirement{unknown(&authv1.ClaimRequirement{Claim: "a", Values: []string{"b"}})}}),
		"is negative":              require(&authv1.Requirement{MaxTokenAge: durationpb.New(-time.Second)}),
	} {
		_, err := Of(changed(t, option), []string{catalog}, nil)
		if err == nil || !strings.Contains(err.Error(), strings.TrimSpace(fault)) || !strings.Contains(err.Error(), "Get") {
			t.Error(fault, err)
		}
		if _, declared := NewDirectory(changed(t, option)).Lookup("/" + catalog + "/Get"); declared {
			t.Error("a client must not send a token by such a policy", fault)
		}
	}
	_, err := Of(protoregistry.GlobalFiles, []string{"a.B", "conformance.catalog.v1.Forgotten"}, []string{"/a.B/C"})
	if err == nil || strings.Count(err.Error(), ";") != 2 {
		t.Error(err)
	}
}

func TestHealthChecksAreOpen(t *testing.T) {
	table, err := Linked([]string{catalog}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if method, declared := table.Lookup("/grpc.health.v1.Health/Watch"); !declared || method.Access != Public {
		t.Error(method)
	}
	if _, declared := table.Lookup("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"); declared {
		t.Error("reflection is not open")
	}
}

func TestADirectoryFindsMethodsWithoutAList(t *testing.T) {
	directory := NewDirectory(protoregistry.GlobalFiles)
	if method, declared := directory.Lookup("/" + catalog + "/Get"); !declared || method.Audience != "catalog" {
		t.Error(method)
	}
	for _, path := range []string{"/a.B/C", "/" + catalog + "/None", "", "/", "/conformance.catalog.v1.Forgotten/Get", "/conformance.catalog.v1.Message/Get"} {
		if _, declared := directory.Lookup(path); declared {
			t.Error(path)
		}
	}
	if paths := directory.Paths("/" + catalog + "/P*"); fmt.Sprint(paths) != "[/"+catalog+"/Ping /"+catalog+"/Put]" {
		t.Error(paths)
	}
}

func TestAClaimIsOneOfTheValuesOrAListWithOne(t *testing.T) {
	tenant, deep := Claim{"tenant", []string{"acme", "globex"}}, Claim{"/a~1b/0/~0", []string{"x"}}
	for _, one := range []struct {
		claim   Claim
		claims  map[string]any
		allowed bool
	}{
		{tenant, map[string]any{"tenant": "globex"}, true},
		{tenant, map[string]any{"tenant": "initech"}, false},
		{tenant, map[string]any{"tenant": []any{"initech", "acme"}}, true},
		{tenant, map[string]any{"tenant": []any{[]any{"acme"}}}, false},
		{tenant, map[string]any{"tenant": map[string]any{"acme": "acme"}}, false},
		{tenant, nil, false},
		{deep, map[string]any{"a/b": []any{map[string]any{"~": "x"}}}, true},
		{deep, map[string]any{"a/b": map[string]any{"0": map[string]any{"~": "x"}}}, true},
		{deep, map[string]any{"a/b": []any{}}, false},
		{deep, map[string]any{"/a~1b/0/~0": "x"}, false},
	} {
		if allowed := one.claim.Allows(one.claims); allowed != one.allowed {
			t.Errorf("%v %v: %v", one.claim, one.claims, allowed)
		}
	}
}

func TestClaimsThatCannotBeMetAreFaults(t *testing.T) {
	for _, claim := range []Claim{{"tenant", nil}, {"", []string{"a"}}, {"/", []string{"a"}}, {"scope", []string{"a"}}, {"/client_id", []string{"a"}}, {"appid", []string{"a"}}, {"/scp/0", []string{"a"}}, {"/a~b", []string{"a"}}} {
		if (Requirement{Claims: []Claim{claim}}).check("one.S.Get") == nil {
			t.Error(claim)
		}
	}
	if err := (Requirement{Claims: []Claim{{"/a~1b", []string{"a"}}, {"a~b", []string{"a"}}, {"scp/0", []string{"a"}}, {"/a/scp", []string{"a"}}}}).check("one.S.Get"); err != nil {
		t.Error(err)
	}
}
