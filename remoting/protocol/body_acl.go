package protocol

import "fmt"

// PlainAccessConfig is one account of ACL 1.0.
type PlainAccessConfig struct {
	AccessKey, SecretKey               string
	WhiteRemoteAddress                 string
	Admin                              bool
	DefaultTopicPerm, DefaultGroupPerm string
	TopicPerms, GroupPerms             []string // topicA=DENY
}

// AccessConfigs is the answer to GET_BROKER_CLUSTER_ACL_CONFIG.
type AccessConfigs struct {
	GlobalWhiteAddrs []string
	Accounts         []PlainAccessConfig
}

// AppendJSON appends the accounts.
func (b *AccessConfigs) AppendJSON(dst []byte) []byte {
	return appendJSON(dst, func(w *jsonWriter) {
		w.open('{')
		w.key("globalWhiteAddrs")
		w.strs(b.GlobalWhiteAddrs)
		w.key("plainAccessConfigs")
		w.open('[')
		for _, a := range b.Accounts {
			w.open('{')
			w.strKVIf("accessKey", a.AccessKey)
			w.boolKV("admin", a.Admin)
			w.strKVIf("defaultGroupPerm", a.DefaultGroupPerm)
			w.strKVIf("defaultTopicPerm", a.DefaultTopicPerm)
			w.key("groupPerms")
			w.strs(a.GroupPerms)
			w.strKVIf("secretKey", a.SecretKey)
			w.key("topicPerms")
			w.strs(a.TopicPerms)
			w.strKVIf("whiteRemoteAddress", a.WhiteRemoteAddress)
			w.close('}')
		}
		w.close(']')
		w.close('}')
	})
}

// Decode reads the accounts.
func (b *AccessConfigs) Decode(body []byte) error {
	v, err := parseObject(body, JSONLimits{})
	if err != nil {
		return fmt.Errorf("access configuration: %w", err)
	}
	*b = AccessConfigs{GlobalWhiteAddrs: v.Get("globalWhiteAddrs").Strs()}
	for _, it := range v.Get("plainAccessConfigs").Items() {
		b.Accounts = append(b.Accounts, PlainAccessConfig{
			AccessKey:          it.Get("accessKey").Str(),
			SecretKey:          it.Get("secretKey").Str(),
			WhiteRemoteAddress: it.Get("whiteRemoteAddress").Str(),
			Admin:              it.Get("admin").Bool(),
			DefaultTopicPerm:   it.Get("defaultTopicPerm").Str(),
			DefaultGroupPerm:   it.Get("defaultGroupPerm").Str(),
			TopicPerms:         it.Get("topicPerms").Strs(),
			GroupPerms:         it.Get("groupPerms").Strs(),
		})
	}
	return nil
}

// DataVersions is a table of versions by file, as GET_BROKER_CLUSTER_ACL_INFO has
// it in a header field.
type DataVersions struct{ Versions map[string]DataVersion }

// AppendJSON appends the versions.
func (b *DataVersions) AppendJSON(dst []byte) []byte {
	return appendJSON(dst, func(w *jsonWriter) {
		w.open('{')
		for _, name := range sortedKeys(b.Versions) {
			w.key(name)
			v := b.Versions[name]
			v.write(w)
		}
		w.close('}')
	})
}

// Decode reads the versions.
func (b *DataVersions) Decode(body []byte) error {
	v, err := parseObject(body, JSONLimits{NodesMax: 1 << 16})
	if err != nil {
		return fmt.Errorf("data versions: %w", err)
	}
	b.Versions = make(map[string]DataVersion, v.Len())
	v.Each(func(name, version Value) { b.Versions[name.Str()] = dataVersionOf(version) })
	return nil
}
