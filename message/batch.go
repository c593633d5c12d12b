package message

import (
	"encoding/binary"
	"fmt"
	"math"
)

// BatchItem is one message of a batch send. Its slices share memory with the
// request's body.
type BatchItem struct {
	Flag       int32
	Body       []byte
	Properties []byte
}

// A batch item without body and properties: size, magic, checksum, flag, body
// length, properties length.
const batchItemMin = 4 + 4 + 4 + 4 + 4 + 2

// EachBatchItem calls fn for each message in the body of a batch send and stops
// at fn's first error, which it returns as it is. A body that is not made of
// whole items gives an error that wraps ErrMalformed; items before the bad spot
// have been shown by then, so a caller that must take all or nothing keeps its
// output aside until the end. The items' magic and checksum are ignored, as
// clients write zeros there.
func EachBatchItem(body []byte, fn func(BatchItem) error) error {
	be := binary.BigEndian
	for n := 0; len(body) > 0; n++ {
		if len(body) < batchItemMin {
			return fmt.Errorf("%w: %d bytes are left for batch item %d", ErrMalformed, len(body), n)
		}
		size := int64(be.Uint32(body))
		if size < batchItemMin || size > int64(len(body)) {
			return fmt.Errorf("%w: batch item %d has size %d with %d bytes left", ErrMalformed, n, size, len(body))
		}
		item := body[:size:size]
		body = body[size:]
		bodyEnd := 20 + int64(be.Uint32(item[16:]))
		if bodyEnd+2 > size {
			return fmt.Errorf("%w: body of batch item %d passes its end", ErrMalformed, n)
		}
		props := int64(be.Uint16(item[bodyEnd:]))
		if props > PropertiesBytesMax || bodyEnd+2+props != size {
			return fmt.Errorf("%w: properties of batch item %d have length %d", ErrMalformed, n, props)
		}
		err := fn(BatchItem{
			Flag:       int32(be.Uint32(item[12:])),
			Body:       item[20:bodyEnd:bodyEnd],
			Properties: item[bodyEnd+2:],
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// AppendBatchItem appends one item as producers write it into the body of a
// batch send. Errors: ErrPropertiesLength, ErrBodyLength.
func AppendBatchItem(dst []byte, item BatchItem) ([]byte, error) {
	if len(item.Properties) > PropertiesBytesMax {
		return dst, fmt.Errorf("batch item with %d bytes of properties: %w", len(item.Properties), ErrPropertiesLength)
	}
	size := batchItemMin + len(item.Body) + len(item.Properties)
	if size > math.MaxInt32 {
		return dst, fmt.Errorf("batch item with a body of %d bytes: %w", len(item.Body), ErrBodyLength)
	}
	be := binary.BigEndian
	dst = be.AppendUint32(dst, uint32(size))
	dst = be.AppendUint32(dst, 0) // magic
	dst = be.AppendUint32(dst, 0) // body checksum
	dst = be.AppendUint32(dst, uint32(item.Flag))
	dst = be.AppendUint32(dst, uint32(len(item.Body)))
	dst = append(dst, item.Body...)
	dst = be.AppendUint16(dst, uint16(len(item.Properties)))
	return append(dst, item.Properties...), nil
}
