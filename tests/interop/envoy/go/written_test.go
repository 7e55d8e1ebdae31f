package envoy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	managerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	securityv1 "istio.io/api/security/v1"
	"sigs.k8s.io/yaml"
)

// written returns the output of token-server for the example application's annotations.
func written(t *testing.T, target string, more ...string) []byte {
	t.Helper()
	arguments := []string{"policy", target, "--descriptor", os.Getenv("INVENTORY_DESCRIPTOR_SET")}
	arguments = append(arguments, "--issuer", "https://tokens.example.com", "--danger-streams-outlive-tokens")
	output, err := exec.CommandContext(t.Context(), os.Getenv("TOKEN_SERVER"), append(arguments, more...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	return output
}

// validated reads JSON strictly into a message, and checks it and its packed messages by Envoy's rules.
func validated(t *testing.T, text []byte, message proto.Message) {
	t.Helper()
	if err := protojson.Unmarshal(text, message); err != nil {
		t.Fatal(err)
	}
	if checked, ok := message.(interface{ ValidateAll() error }); ok {
		if err := checked.ValidateAll(); err != nil {
			t.Fatal(err)
		}
	}
}

func unpacked(t *testing.T, packed *anypb.Any) proto.Message {
	t.Helper()
	message, err := packed.UnmarshalNew()
	if err != nil {
		t.Fatal(err)
	}
	if err := message.(interface{ ValidateAll() error }).ValidateAll(); err != nil {
		t.Fatal(err)
	}
	return message
}

func asJSON(t *testing.T, text []byte, into any) {
	t.Helper()
	converted, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(converted, into); err != nil {
		t.Fatal(err)
	}
}

func TestEnvoysConfigurationIsAsItsTypesHaveIt(t *testing.T) {
	var document struct {
		Filters  []json.RawMessage `json:"http_filters"`
		Clusters []json.RawMessage `json:"clusters"`
	}
	asJSON(t, written(t, "envoy"), &document)
	var kinds []string
	for _, text := range document.Filters {
		filter := &managerv3.HttpFilter{}
		validated(t, text, filter)
		switch config := unpacked(t, filter.GetTypedConfig()).(type) {
		case *jwtv3.JwtAuthentication:
			provider := config.Providers["inventory"]
			if provider.Issuer != "https://tokens.example.com" || len(provider.Audiences) != 1 || len(config.Rules) != 3 {
				t.Error(config)
			}
			for _, rule := range config.Rules {
				if rule.GetRequires().GetProviderName() != "inventory" {
					t.Error("lets pass without a token:", rule)
				}
			}
		case *rbacv3.RBAC:
			if len(config.Rules.Policies) != 4 {
				t.Error(config)
			}
		}
		kinds = append(kinds, filter.Name)
	}
	if fmt.Sprint(kinds) != "[envoy.filters.http.header_mutation envoy.filters.http.jwt_authn envoy.filters.http.rbac]" {
		t.Error(kinds)
	}
	for _, text := range document.Clusters {
		cluster := &clusterv3.Cluster{}
		validated(t, text, cluster)
		unpacked(t, cluster.TransportSocket.GetTypedConfig())
	}
	if len(document.Clusters) != 1 {
		t.Error(len(document.Clusters))
	}
}

func TestIstiosResourcesAreAsItsTypesHaveThem(t *testing.T) {
	documents := bytes.Split(written(t, "istio", "--app", "inventory"), []byte("\n---\n"))
	if len(documents) != 2 {
		t.Fatal(len(documents))
	}
	specs := map[string]proto.Message{
		"RequestAuthentication": &securityv1.RequestAuthentication{},
		"AuthorizationPolicy":   &securityv1.AuthorizationPolicy{},
	}
	for _, text := range documents {
		var resource struct {
			APIVersion string          `json:"apiVersion"`
			Kind       string          `json:"kind"`
			Spec       json.RawMessage `json:"spec"`
		}
		asJSON(t, text, &resource)
		if resource.APIVersion != "security.istio.io/v1" {
			t.Error(resource.APIVersion)
		}
		validated(t, resource.Spec, specs[resource.Kind])
	}
	rules := specs["AuthorizationPolicy"].(*securityv1.AuthorizationPolicy).Rules
	if len(rules) != 4 {
		t.Fatal(rules)
	}
	for _, rule := range rules {
		public := rule.To[0].Operation.Paths[0] == service+"GetOpeningHours"
		if public == (len(rule.From) == 1) || public == (len(rule.When) > 0) {
			t.Error("lets pass without a token, or refuses everybody:", rule)
		}
	}
}
