package real

import (
	"os/exec"
	"path/filepath"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/jwt"

	inventoryv1 "token.example/interop/gen"
)

// gRPC's own credentials (gRFC A97) read the file that `token-server agent` writes.
func TestATokenFileOfTheAgentIsGoodForGRPCsOwnCredentials(t *testing.T) {
	file := filepath.Join(t.TempDir(), "inventory.jwt")
	agent := exec.CommandContext(t.Context(), env(t, "TOKEN_SERVER"), "agent", "--once", "--token", "inventory="+file)
	if output, err := agent.CombinedOutput(); err != nil {
		t.Fatal(err, string(output))
	}
	credentials, err := jwt.NewTokenFileCallCredentials(file)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := inventory(t, grpc.WithPerRPCCredentials(credentials)).
		GetItem(t.Context(), &inventoryv1.GetItemRequest{Sku: "sp-1"})
	if err != nil || answer.GetAskedBy() != env(t, "TOKEN_CLIENT_ID") {
		t.Fatal(answer, err)
	}
}
