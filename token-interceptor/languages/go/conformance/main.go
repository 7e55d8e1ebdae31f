// Command conformance is the executor of the Go packages for the conformance suite, tests/conformance.
//
// It reads requests from standard input and writes responses to standard output, each preceded by its length
// in four bytes, little-endian. Cases of the client layer run in a bubble of testing/synctest: real code, on
// a simulated clock.
package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"testing"

	"google.golang.org/protobuf/proto"

	conformancev1 "m2m.example/go/m2m/conformance/v1"
)

func main() {
	responses := os.Stdout
	os.Stdout = os.Stderr // nothing else may get between the responses
	slog.SetDefault(slog.New(slog.DiscardHandler))
	all := func(string, string) (bool, error) { return true, nil }
	// A test, as testing/synctest is for tests alone. It exits with 0 if the test passes.
	testing.Main(all, []testing.InternalTest{{Name: "executor", F: func(t *testing.T) {
		if err := serve(t, os.Stdin, responses); err != nil {
			t.Error(err)
		}
	}}}, nil, nil)
}

func serve(t *testing.T, requests io.Reader, responses io.Writer) error {
	reader, writer := bufio.NewReader(requests), bufio.NewWriter(responses)
	for {
		var request conformancev1.ConformanceRequest
		if err := read(reader, &request); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := write(writer, execute(t, &request)); err != nil {
			return err
		}
	}
}

func execute(t *testing.T, request *conformancev1.ConformanceRequest) (response *conformancev1.ConformanceResponse) {
	failed := func(text string) *conformancev1.ConformanceResponse {
		return &conformancev1.ConformanceResponse{Result: &conformancev1.ConformanceResponse_Error{Error: text}}
	}
	defer func() {
		if panicked := recover(); panicked != nil {
			response = failed(fmt.Sprint("the executor panicked: ", panicked))
		}
	}()
	switch one := request.GetCase().(type) {
	case *conformancev1.ConformanceRequest_Server:
		result, err := serverCase(t.Context(), one.Server)
		if err != nil {
			return failed(err.Error())
		}
		return &conformancev1.ConformanceResponse{Result: &conformancev1.ConformanceResponse_Server{Server: result}}
	case *conformancev1.ConformanceRequest_Client:
		result, err := clientCase(t, one.Client)
		if err != nil {
			return failed(err.Error())
		}
		return &conformancev1.ConformanceResponse{Result: &conformancev1.ConformanceResponse_Client{Client: result}}
	default:
		return failed("the case is of a kind that is unknown here")
	}
}

// read returns io.EOF at the end of the input.
func read(from io.Reader, into proto.Message) error {
	var length uint32
	if err := binary.Read(from, binary.LittleEndian, &length); err != nil {
		return err
	}
	text := make([]byte, length)
	if _, err := io.ReadFull(from, text); err != nil {
		return fmt.Errorf("the input ends within a message: %w", io.ErrUnexpectedEOF)
	}
	return proto.Unmarshal(text, into)
}

func write(to *bufio.Writer, message proto.Message) error {
	text, err := proto.Marshal(message)
	if err != nil {
		return err
	}
	if err := binary.Write(to, binary.LittleEndian, uint32(len(text))); err != nil {
		return err
	}
	if _, err := to.Write(text); err != nil {
		return err
	}
	return to.Flush()
}
