package command

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"enclaveos/client-go/enclaveos"
)

// maxLine is the longest line that is read: a whole frame.
const maxLine = 64 << 20

const help = `One JSON command a line, for example
  {"wasm_list":{}}
  {"wasm_call":{"app":"test-app","function":"hello","params":[]}}
  "Healthz"
verdict   what was verified
exit      ends the session
`

// session sends every line as a command and prints the answer.
func session(ctx context.Context, conn *enclaveos.Conn, stdin io.Reader, out *printer) int {
	interactive := terminal(stdin) && !out.json
	lines := bufio.NewScanner(stdin)
	lines.Buffer(nil, maxLine)
	code := exitDone
	if interactive {
		fmt.Fprint(out.stderr, "Type JSON commands, or help.\n")
	}
	for {
		if interactive {
			fmt.Fprint(out.stderr, "> ")
		}
		if !lines.Scan() {
			break
		}
		line := bytes.TrimSpace(lines.Bytes())
		switch string(line) {
		case "":
			continue
		case "exit", "quit":
			return code
		case "help":
			fmt.Fprint(out.stderr, help)
			continue
		case "verdict":
			out.verdict(conn.Verdict())
			continue
		}
		if !json.Valid(line) {
			fmt.Fprintf(out.stderr, "error: not JSON: %.60s (help shows examples)\n", line)
			code = failed(interactive, code, exitUsage)
			continue
		}
		reply, err := conn.Exchange(ctx, line)
		if err != nil {
			out.error(err)
			return exitConnection
		}
		out.answer(reply)
		if refused(reply) {
			code = failed(interactive, code, exitRefused)
		}
	}
	if err := lines.Err(); err != nil {
		fmt.Fprintln(out.stderr, "error:", err)
		return exitUsage
	}
	return code
}

// failed keeps the first failure as the exit code of a script; a person has seen it.
func failed(interactive bool, code, next int) int {
	if interactive || code != exitDone {
		return code
	}
	return next
}

func refused(reply []byte) bool {
	var status struct {
		Status string `json:"status"`
	}
	return json.Unmarshal(reply, &status) == nil && strings.EqualFold(status.Status, "error")
}

func terminal(stdin io.Reader) bool {
	file, ok := stdin.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
