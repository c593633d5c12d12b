package broker

import (
	"maps"
	"slices"
	"strings"

	"github.com/cometmq/cometmq/remoting/protocol"
)

// changeAttributes applies the field `attributes` of UPDATE_AND_CREATE_TOPIC, as
// 5.x tools send it: "+key=value" sets an attribute, "-key" removes it, several
// are joined by commas. Without the field a topic keeps what it has. 4.9 tools
// know no attributes.
func changeAttributes(old map[string]string, text string) (map[string]string, error) {
	if text == "" {
		return old, nil
	}
	out := maps.Clone(old)
	if out == nil {
		out = map[string]string{}
	}
	for _, item := range strings.Split(text, ",") {
		item = strings.TrimSpace(item)
		key, value, assigned := strings.Cut(item, "=")
		switch {
		case len(key) > 1 && key[0] == '+' && assigned && value != "":
			out[key[1:]] = value
		case len(key) > 1 && key[0] == '-' && !assigned:
			delete(out, key[1:])
		default:
			return nil, refuse(protocol.StatusSystemError, "attribute %.64q is neither +key=value nor -key", item)
		}
	}
	return out, nil
}

// attributeText is the same for the attributes of a topic in a list, whose keys
// carry the sign.
func attributeText(attributes map[string]string) string {
	items := make([]string, 0, len(attributes))
	for _, key := range slices.Sorted(maps.Keys(attributes)) {
		item := key
		if value := attributes[key]; value != "" {
			item += "=" + value
		}
		items = append(items, item)
	}
	return strings.Join(items, ",")
}
