package tokens

import (
	"strings"

	"google.golang.org/grpc/metadata"
)

// markKey is the trailer by which the server layer marks its own refusals. A client may send a call again
// only if no handler ran. The reason in a status cannot prove that: a handler may pass on a refusal by the
// next service. So the server layer removes the mark from every answer of a handler.
const markKey = "token-refused"

// The stage at which the layer refused the token.
const (
	beforeHandler = "before-handler"
	afterHandler  = "after-handler"
)

// unmarked returns md without marks. It copies md only if there is one.
func unmarked(md metadata.MD) metadata.MD {
	for key := range md {
		if strings.EqualFold(key, markKey) {
			clean := metadata.MD{}
			for key, values := range md {
				if !strings.EqualFold(key, markKey) {
					clean[key] = values
				}
			}
			return clean
		}
	}
	return md
}

// stageOf returns the stage of the only mark in md, if it names the method at path. The mark of a program
// that passes on another's answer names another method.
func stageOf(md metadata.MD, path string) string {
	marks := md.Get(markKey)
	if len(marks) != 1 {
		return ""
	}
	stage, marked, _ := strings.Cut(marks[0], " ")
	if marked != path || (stage != beforeHandler && stage != afterHandler) {
		return ""
	}
	return stage
}
