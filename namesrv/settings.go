package namesrv

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/cometmq/cometmq/internal/config"
	"github.com/cometmq/cometmq/internal/vfs"
)

// settingsFileMax bounds the property file that an update edits.
const settingsFileMax = 1 << 20

// storeSettings writes the present values of the given keys into the property
// file, leaving all other lines as they are.
func (s *Server) storeSettings(keys []string) error {
	path := s.settings.Current().ConfigStorePath
	if path == "" || len(keys) == 0 {
		return nil
	}
	text, err := vfs.ReadFile(s.cfg.FS, path, settingsFileMax)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read settings: %w", err)
	}
	values := map[string]string{}
	for _, key := range keys {
		values[key], _ = s.settings.Value(key)
	}
	if err := writeFile(s.cfg.FS, path, config.EditText(text, values)); err != nil {
		return fmt.Errorf("write settings: %w", err)
	}
	return nil
}
