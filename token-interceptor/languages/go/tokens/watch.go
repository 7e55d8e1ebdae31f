package tokens

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/status"

	tokenv1 "m2m.example/go/m2m/token/v1"
	"m2m.example/go/verify"
)

// Watch follows the trust stream of a token server, for verify.TrustedIssuer.Push: a new key arrives before
// its first use, and a revocation is enforced within a second.
func Watch(issuer Issuer) (func(ctx context.Context, trust *verify.Trust) error, error) {
	conn, err := issuer.dial()
	if err != nil {
		return nil, fmt.Errorf("tokens.Watch: %w", err)
	}
	client := tokenv1.NewTrustServiceClient(conn)
	return func(ctx context.Context, trust *verify.Trust) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		// No call of this function may hang: an answer that does not come ends it.
		silence := time.AfterFunc(verify.SilenceMax, cancel)
		defer silence.Stop()
		described, err := client.GetIssuer(ctx, &tokenv1.GetIssuerRequest{})
		if err != nil {
			return fmt.Errorf("the issuer does not answer: %s", status.Code(err))
		}
		if described.GetIssuer().GetIssuer() != trust.Issuer() {
			return errors.New("the TrustService is another issuer's")
		}
		stream, err := client.WatchTrust(ctx, &tokenv1.WatchTrustRequest{SinceVersion: trust.Version()})
		if err != nil {
			return fmt.Errorf("the issuer does not push: %s", status.Code(err))
		}
		for {
			message, err := stream.Recv()
			if err != nil {
				return fmt.Errorf("the stream ended: %s", status.Code(err))
			}
			silence.Reset(verify.SilenceMax)
			if err := trust.Apply(stepOf(message)); err != nil {
				return err
			}
		}
	}, nil
}

func stepOf(message *tokenv1.WatchTrustResponse) verify.TrustStep {
	step := verify.TrustStep{
		Version: message.GetVersion(), Snapshot: message.GetSnapshot(), Keys: map[string]string{},
		RemovedKeyIDs: message.GetRemovedKeyIds(), MoreFollows: message.GetMoreFollows(),
	}
	if at := message.GetServerTime(); at != nil {
		step.ServerTime = at.AsTime()
	}
	for _, key := range message.GetKeys() {
		jwk := key.GetJwk()
		if key.GetState() == tokenv1.KeyState_KEY_STATE_DISTRUSTED {
			jwk = ""
		}
		step.Keys[key.GetKeyId()] = jwk
	}
	for _, revocation := range message.GetRevocations() {
		entry := verify.TrustRevocation{Hash: revocation.GetTokenHash()}
		if revocation.GetClientHash() != nil {
			entry.Hash = revocation.GetClientHash()
			if before := revocation.GetIssuedBeforeTime(); before != nil {
				entry.IssuedBefore = before.AsTime()
			}
		}
		if forget := revocation.GetForgetTime(); forget != nil {
			entry.ForgetAt = forget.AsTime()
		}
		step.Revocations = append(step.Revocations, entry)
	}
	return step
}
