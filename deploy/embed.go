package deploy

import _ "embed" // for the two files below

// BrokerKeys and NamesrvKeys are the files with every key, its meaning and its
// default: what `mqadmin config` knows without being a broker.
var (
	//go:embed conf/broker.conf.example
	BrokerKeys string
	//go:embed conf/namesrv.conf.example
	NamesrvKeys string
)
