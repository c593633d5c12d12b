package protocol

// Body is a JSON body that we can write. AppendJSON appends the fastjson
// dialect: compact, keys in alphabetical order, no nulls, bare integer keys,
// objects as keys. Maps are written in sorted order, so equal bodies are equal bytes.
type Body interface{ AppendJSON(dst []byte) []byte }

// Encode returns the JSON of a body in a slice of its own.
func Encode(b Body) []byte { return b.AppendJSON(nil) }
