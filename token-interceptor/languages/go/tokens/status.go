package tokens

import (
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"m2m.example/go/verify"
)

// StatusOf returns the gRPC status of a refusal: its code, its sentence, google.rpc.ErrorInfo, and RetryInfo
// where waiting helps.
func StatusOf(refusal *verify.Refusal) *status.Status {
	details := []protoadapt.MessageV1{&errdetails.ErrorInfo{
		Reason: refusal.Reason(), Domain: verify.Domain, Metadata: refusal.Metadata(),
	}}
	if refusal.RetryAfter() > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(refusal.RetryAfter())})
	}
	return withDetails(status.New(codes.Code(refusal.Code()), refusal.Sentence()), details...)
}

func withDetails(plain *status.Status, details ...protoadapt.MessageV1) *status.Status {
	detailed, err := plain.WithDetails(details...)
	if err != nil {
		return plain // cannot happen: no status here is OK
	}
	return detailed
}

// reasonOf returns the reason of an answer in this project's domain, or "".
func reasonOf(answer *status.Status) string {
	for _, detail := range answer.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.GetDomain() == verify.Domain {
			return info.GetReason()
		}
	}
	return ""
}
