package enclaveos

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// A head without an end is as good a way to fill a caller's memory as a body without one.
func TestAnswersAreBounded(t *testing.T) {
	const limit = 1 << 10
	cases := map[string]struct{ head, again string }{
		"head":   {"HTTP/1.1 200 OK\r\nX: ", strings.Repeat("x", 4096)},
		"fields": {"HTTP/1.1 200 OK\r\n", strings.Repeat("X: x\r\n", 512)},
		"body":   {"HTTP/1.1 200 OK\r\n\r\n", strings.Repeat("x", 4096)},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			ours, theirs := net.Pipe()
			taken := make(chan int, 1)
			go func() {
				defer theirs.Close()
				request, total := make([]byte, 4096), 0
				_, err := theirs.Read(request)
				for text := c.head; err == nil && total < 4*maxHead; text = c.again {
					var n int
					n, err = io.WriteString(theirs, text)
					total += n
				}
				taken <- total
			}()
			_, err := exchange(ours, "localhost", http.MethodGet, "/", nil, limit)
			ours.Close()
			var refused *ProtocolError
			if !errors.As(err, &refused) || !strings.Contains(refused.Reason, "more than") {
				t.Error(err)
			}
			if total := <-taken; total > limit+maxHead+8192 {
				t.Errorf("%d bytes were read", total)
			}
		})
	}
}

// What fits is read, and the connection is left clean.
func TestTheLongestAnswer(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	body := bytes.Repeat([]byte("x"), 1<<10)
	go func() {
		if _, err := theirs.Read(make([]byte, 4096)); err == nil {
			io.WriteString(theirs, "HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\n"+string(body))
		}
	}()
	answer, err := exchange(ours, "localhost", http.MethodGet, "/", nil, 1<<10)
	if err != nil || !bytes.Equal(answer, body) {
		t.Errorf("%d bytes, %v", len(answer), err)
	}
}
