package enclaveos_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"

	"enclaveos/client-go/enclaveos"
	"enclaveos/client-go/policy"
)

func Example() {
	text, err := os.ReadFile("policy.toml")
	if err != nil {
		log.Fatal(err)
	}
	accepted, err := policy.Parse(string(text))
	if err != nil {
		log.Fatal(err)
	}
	client, err := enclaveos.New(enclaveos.Config{Address: "enclave.example:443", Policy: accepted})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	conn, err := client.Connect(ctx)
	var refused *enclaveos.VerificationError
	if errors.As(err, &refused) {
		log.Fatal("not the enclave it should be:\n", refused.Verdict.Explain())
	}
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	value, err := conn.App("test-app").Call(ctx, "kv-read", "greeting")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(value)
}
