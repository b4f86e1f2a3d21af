package command

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"

	"enclaveos/client-go/dcap"
	"enclaveos/client-go/enclaveos"
	"enclaveos/client-go/policy"
)

const usage = `Connects to an enclave, verifies it, and then sends it JSON commands, one a line.

  go run . --host HOST --port PORT --policy FILE

`

// arguments are what was typed, read.
type arguments struct {
	config   enclaveos.Config
	evidence string
	json     bool
}

func parse(typed []string, stderr io.Writer) (*arguments, error) {
	flags := flag.NewFlagSet("client", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(stderr, usage)
		flags.PrintDefaults()
	}
	host := flags.String("host", "", "the enclave's `host`")
	port := flags.Int("port", 443, "its `port`")
	name := flags.String("server-name", "", "the `name` to ask for and to find in the certificate, such as an app's hostname")
	file := flags.String("policy", "", "the policy `file` (TOML) that says which enclave is accepted")
	tier := flags.String("tier", "channel", "how fresh the evidence shall be: `certificate, challenge or channel`")
	collateral := flags.String("collateral", "", "a `file` with collateral (JSON); otherwise the enclave sends it along")
	evidence := flags.String("evidence", "", "verify this evidence document (`file`) offline instead of connecting")
	asJSON := flags.Bool("json", false, "print the verdict and the answers as JSON, one a line")
	anyone := flags.Bool("danger-accept-unverified", false, "without a policy: talk to whoever answers, with or without a quote")
	if err := flags.Parse(typed); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("nothing goes with %q", flags.Arg(0))
	}
	if *host == "" && *evidence == "" {
		return nil, errors.New("--host is missing")
	}
	if *port < 1 || *port > 65535 {
		return nil, fmt.Errorf("--port is 1 to 65535, not %d", *port)
	}
	chosen, known := policy.ParseTier(*tier)
	if !known {
		return nil, fmt.Errorf("--tier is certificate, challenge or channel, not %q", *tier)
	}
	a := &arguments{evidence: *evidence, json: *asJSON, config: enclaveos.Config{
		Address: net.JoinHostPort(*host, strconv.Itoa(*port)), ServerName: *name, Tier: &chosen,
	}}
	return a, a.files(*file, *collateral, *anyone)
}

// files reads policy and collateral.
func (a *arguments) files(policyFile, collateralFile string, anyone bool) error {
	switch {
	case policyFile != "" && anyone:
		return errors.New("--policy and --danger-accept-unverified contradict each other")
	case policyFile != "":
		text, err := os.ReadFile(policyFile)
		if err != nil {
			return err
		}
		if a.config.Policy, err = policy.Parse(string(text)); err != nil {
			return fmt.Errorf("%s: %w", policyFile, err)
		}
	case a.evidence != "":
		return errors.New("--evidence is verified against a policy: give --policy")
	case anyone:
		a.config.Danger = enclaveos.DangerAnyone
	default:
		a.config.Danger = enclaveos.DangerAnyEnclave
	}
	if collateralFile == "" {
		return nil
	}
	text, err := os.ReadFile(collateralFile)
	if err != nil {
		return err
	}
	a.config.Collateral, err = dcap.ParseCollateral(text)
	return err
}
