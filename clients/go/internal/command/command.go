// Package command is the command line of this client.
package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"enclaveos/client-go/enclaveos"
	"enclaveos/client-go/verify"
)

// Exit codes.
const (
	exitDone       = 0
	exitUnverified = 1
	exitUsage      = 2
	exitConnection = 3
	exitRefused    = 4
)

// unverified is said each time that no policy was given.
const unverified = "WARNING: not verified against a policy. Any code on anybody's machine may be answering; --policy FILE says which enclave is accepted."

// Run runs the command and returns its exit code.
func Run(typed []string, stdin io.Reader, stdout, stderr io.Writer) int {
	arguments, err := parse(typed, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return exitDone
	}
	if err != nil {
		fmt.Fprintln(stderr, "error:", err)
		return exitUsage
	}
	out := &printer{stdout: stdout, stderr: stderr, json: arguments.json}
	if arguments.evidence != "" {
		return offline(arguments, out)
	}
	client, err := enclaveos.New(arguments.config)
	if err != nil {
		fmt.Fprintln(stderr, "error:", err)
		return exitUsage
	}
	ctx := context.Background()
	conn, err := client.Connect(ctx)
	if err != nil {
		return out.failure(err)
	}
	defer conn.Close()
	if arguments.config.Policy == nil {
		fmt.Fprintln(stderr, unverified)
	}
	out.verdict(conn.Verdict())
	return session(ctx, conn, stdin, out)
}

// offline verifies an evidence document.
func offline(arguments *arguments, out *printer) int {
	text, err := os.ReadFile(arguments.evidence)
	if err != nil {
		fmt.Fprintln(out.stderr, "error:", err)
		return exitUsage
	}
	known := verify.Context{Collateral: arguments.config.Collateral}
	verdict := verify.JudgeDocument(arguments.config.Policy, text, known, time.Now())
	out.verdict(verdict)
	if !verdict.Accepted {
		fmt.Fprintln(out.stderr, "error: refused")
		out.explain(verdict)
		return exitUnverified
	}
	return exitDone
}
