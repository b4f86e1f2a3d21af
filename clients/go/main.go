// The command verifies an enclave and then sends it JSON commands:
//
//	go run . --host enclave.example --port 443 --policy policy.toml
package main

import (
	"os"

	"enclaveos/client-go/internal/command"
)

func main() {
	os.Exit(command.Run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
