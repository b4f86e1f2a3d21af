package command

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// line makes a text of the peer one line that a terminal takes for nothing else: no control characters,
// and none that turn the direction of writing.
func line(text string) string { return escape(text, false) }

// lines is the same for a text whose line feeds were written here.
func lines(text string) string { return escape(text, true) }

// escape writes what must not reach a terminal the way JSON does, so that JSON keeps its meaning.
func escape(text string, feeds bool) string {
	var safe strings.Builder
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&safe, `\x%02x`, text[0])
		case r == '\n' && feeds:
			safe.WriteByte('\n')
		case r < ' ', r >= 0x7f && r < 0xa0, r >= 0x2028 && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
			fmt.Fprintf(&safe, `\u%04x`, r)
		default:
			safe.WriteString(text[:size])
		}
		text = text[size:]
	}
	return safe.String()
}
