package tokens

import (
	"context"
	"strings"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
)

// Credentials returns call credentials for programs that set them by themselves. They need TLS, and no call
// is sent twice, as credentials do not see answers.
func (c *Client) Credentials() credentials.PerRPCCredentials { return perRPC{c} }

type perRPC struct{ client *Client }

// RequireTransportSecurity makes gRPC refuse the credentials on a plaintext connection.
func (p perRPC) RequireTransportSecurity() bool { return !p.client.settings.plaintext }

// GetRequestMetadata returns the header of the called method's token.
func (p perRPC) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	info, _ := credentials.RequestInfoFromContext(ctx)
	if !p.client.settings.plaintext {
		if err := checkSecure(info); err != nil {
			return nil, err
		}
	}
	call, err := p.client.prepare(ctx, info.Method, "")
	if err != nil {
		return nil, forCredentials(err)
	}
	ready, err := p.client.obtain(ctx, call)
	if err != nil || ready == anonymous {
		return nil, forCredentials(err)
	}
	return map[string]string{"authorization": ready.Header}, nil
}

// forCredentials keeps the reason in the text: gRPC replaces the codes that gRFC A54 reserves for
// applications.
func forCredentials(err error) error {
	if err == nil {
		return nil
	}
	answer := status.Convert(err)
	if reason := reasonOf(answer); reason != "" && !strings.Contains(answer.Message(), reason) {
		answer = withDetailsOf(answer, reason+": "+answer.Message())
	}
	return answer.Err()
}

// withDetailsOf returns a status with another message.
func withDetailsOf(answer *status.Status, message string) *status.Status {
	text := answer.Proto()
	text.Message = message
	return status.FromProto(text)
}
