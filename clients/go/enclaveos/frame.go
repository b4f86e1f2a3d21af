package enclaveos

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// maxFrame is the most that a frame can hold.
const maxFrame = 64 << 20

// errTooLarge says that a request does not fit a frame.
var errTooLarge = errors.New("the request is longer than a frame of 64 MiB: upload over HTTP instead")

// writeFrame sends a JSON text behind its length, in one write.
func writeFrame(w io.Writer, text []byte) error {
	if len(text) > maxFrame {
		return errTooLarge
	}
	frame := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(text)), uint32(len(text)))
	_, err := w.Write(append(frame, text...))
	return err
}

// readFrame reads the JSON text of the next frame. It grows as bytes come, not as they are announced.
func readFrame(r io.Reader, limit uint32) ([]byte, error) {
	var prefix [4]byte
	if _, err := io.ReadFull(r, prefix[:]); err != nil {
		return nil, err
	}
	length := binary.BigEndian.Uint32(prefix[:])
	if length == 0 || length > limit {
		return nil, &ProtocolError{Reason: fmt.Sprintf("a frame of %d bytes, where 1 to %d are allowed", length, limit)}
	}
	text, err := io.ReadAll(io.LimitReader(r, int64(length)))
	if err == nil && len(text) < int(length) {
		err = io.ErrUnexpectedEOF
	}
	return text, err
}
