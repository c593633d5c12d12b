package namesrv

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"sync"

	"github.com/cometmq/cometmq/internal/vfs"
)

// OrderNamespace holds the order configuration of topics: key = topic, value =
// "broker-a:4;broker-b:4".
const OrderNamespace = "ORDER_TOPIC_CONFIG"

// kvBytesMax bounds keys, values and namespaces together. The file is written
// anew for each change, so a large table would make every change slow.
const kvBytesMax = 4 << 20

// kvFileMax bounds the file: JSON escapes a byte with six at most.
const kvFileMax = 8 * kvBytesMax

// ErrKVFull refuses a setting that would pass the bound.
var ErrKVFull = fmt.Errorf("%w: key/value settings hold more than %d bytes", ErrLimit, kvBytesMax)

// KV is the table of settings that operators put on a name server
// (KVConfigManager). It is the one thing that survives a restart, in a JSON
// file of RocketMQ's form. Name servers do not copy settings to each other;
// tools write to each.
type KV struct {
	fs     vfs.FS
	path   string
	notify func(namespace string, table map[string]string)

	mu    sync.RWMutex
	table map[string]map[string]string
	bytes int
}

// kvFile is the form on disk.
type kvFile struct {
	ConfigTable map[string]map[string]string `json:"configTable"`
}

// OpenKV reads the settings from path; a file that does not exist is an empty
// table, and an empty path keeps the settings in memory only. A file that
// cannot be read is an error: starting without it and overwriting it with the
// next change would lose what an operator set. notify, when not nil, is called
// at the end and after each change with a copy of the namespace concerned.
func OpenKV(fsys vfs.FS, path string, notify func(namespace string, table map[string]string)) (*KV, error) {
	kv := &KV{fs: fsys, path: path, notify: notify, table: map[string]map[string]string{}}
	if notify == nil {
		kv.notify = func(string, map[string]string) {}
	}
	if path == "" {
		return kv, nil
	}
	text, err := vfs.ReadFile(fsys, path, kvFileMax)
	if errors.Is(err, fs.ErrNotExist) {
		return kv, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read key/value settings: %w", err)
	}
	var f kvFile
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, fmt.Errorf("key/value settings in %s cannot be read: %w; repair the file or move it away, nothing was changed", path, err)
	}
	for ns, table := range f.ConfigTable {
		for k, v := range table {
			kv.put(ns, k, v)
		}
	}
	if kv.bytes > kvBytesMax {
		return nil, fmt.Errorf("%s: %w", path, ErrKVFull)
	}
	for ns := range kv.table {
		kv.notify(ns, maps.Clone(kv.table[ns]))
	}
	return kv, nil
}

// put sets an entry in memory and keeps the sum of bytes.
func (kv *KV) put(ns, key, value string) {
	table := kv.table[ns]
	if table == nil {
		table = map[string]string{}
		kv.table[ns] = table
	}
	if old, ok := table[key]; ok {
		kv.bytes -= len(ns) + len(key) + len(old)
	}
	table[key] = value
	kv.bytes += len(ns) + len(key) + len(value)
}

// remove takes an entry out of memory; an empty namespace goes with it, so
// that made-up namespaces leave nothing behind.
func (kv *KV) remove(ns, key string) {
	table := kv.table[ns]
	old, ok := table[key]
	if !ok {
		return
	}
	kv.bytes -= len(ns) + len(key) + len(old)
	delete(table, key)
	if len(table) == 0 {
		delete(kv.table, ns)
	}
}

// Put sets an entry and writes the file. When that fails the entry is as
// before: RocketMQ answers success and forgets the setting at the next restart.
func (kv *KV) Put(ns, key, value string) error {
	kv.mu.Lock()
	defer kv.mu.Unlock()
	old, had := kv.table[ns][key]
	kv.put(ns, key, value)
	err := error(nil)
	if kv.bytes > kvBytesMax {
		err = ErrKVFull
	} else if !had || old != value {
		err = kv.save()
	}
	if err != nil {
		if had {
			kv.put(ns, key, old)
		} else {
			kv.remove(ns, key)
		}
		return err
	}
	kv.notify(ns, maps.Clone(kv.table[ns]))
	return nil
}

// Delete removes an entry and writes the file. An absent entry is no error.
func (kv *KV) Delete(ns, key string) error {
	kv.mu.Lock()
	defer kv.mu.Unlock()
	old, had := kv.table[ns][key]
	if !had {
		return nil
	}
	kv.remove(ns, key)
	if err := kv.save(); err != nil {
		kv.put(ns, key, old)
		return err
	}
	kv.notify(ns, maps.Clone(kv.table[ns]))
	return nil
}

// Get returns an entry.
func (kv *KV) Get(ns, key string) (string, bool) {
	kv.mu.RLock()
	defer kv.mu.RUnlock()
	v, ok := kv.table[ns][key]
	return v, ok
}

// Namespace returns a copy of all entries of a namespace, nil for none.
func (kv *KV) Namespace(ns string) map[string]string {
	kv.mu.RLock()
	defer kv.mu.RUnlock()
	return maps.Clone(kv.table[ns])
}

// save writes the whole table beside the old file and renames it into place.
func (kv *KV) save() error {
	if kv.path == "" {
		return nil
	}
	text, err := json.Marshal(kvFile{ConfigTable: kv.table})
	if err != nil {
		return fmt.Errorf("encode key/value settings: %w", err)
	}
	if err := writeFile(kv.fs, kv.path, text); err != nil {
		return fmt.Errorf("write key/value settings: %w", err)
	}
	return nil
}

// writeFile replaces a file as a whole and durably. The directory is made when
// missing.
func writeFile(fsys vfs.FS, path string, data []byte) error {
	if err := fsys.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return vfs.WriteFileAtomic(fsys, path, data)
}
