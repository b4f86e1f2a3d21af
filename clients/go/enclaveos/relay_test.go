package enclaveos_test

import (
	"io"
	"net"
	"testing"

	"enclaveos/client-go/dcap"
	"enclaveos/client-go/enclaveos"
	"enclaveos/client-go/policy"
	"enclaveos/client-go/verify"
)

// relay passes every byte between a client and a server, and keeps what the client sent.
type relay struct {
	listener net.Listener
	sent     chan []byte
}

func relayTo(t *testing.T, address string) *relay {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	r := &relay{listener: listener, sent: make(chan []byte, 8)}
	go func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			go r.pass(in, address)
		}
	}()
	return r
}

func (r *relay) pass(in net.Conn, address string) {
	defer in.Close()
	out, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer out.Close()
	go func() { io.Copy(in, out); in.Close() }()
	var sent []byte
	buffer := make([]byte, 4096)
	for {
		n, err := in.Read(buffer)
		sent = append(sent, buffer[:n]...)
		if err != nil {
			break
		}
		if _, err := out.Write(buffer[:n]); err != nil {
			break
		}
	}
	r.sent <- sent
}

// applicationRecords counts the encrypted records in what a TLS client sent.
func applicationRecords(t *testing.T, sent []byte) (count int) {
	for len(sent) >= 5 {
		length := 5 + int(sent[3])<<8 + int(sent[4])
		if length > len(sent) {
			t.Fatal("half a record")
		}
		if sent[0] == 23 {
			count++
		}
		sent = sent[length:]
	}
	return count
}

// The Finished of the handshake and the alert that closes are encrypted records too; nothing else is sent.
func TestNothingIsSentToARefusedEnclave(t *testing.T) {
	s := serve(t)
	collateral := s.PKI.Collateral()
	s.Enclave.Report = func(r *dcap.Report) { r.MRENCLAVE[0] ^= 1 }
	r := relayTo(t, s.Address())
	c := client(t, s, policy.Challenge, "", func(c *enclaveos.Config) {
		c.Collateral, c.Address = collateral, r.listener.Addr().String()
	})
	refused0(t, c, verify.CheckMeasurement)
	if n := applicationRecords(t, <-r.sent); n != 2 {
		t.Errorf("%d encrypted records instead of Finished and the closing alert", n)
	}
}
