package protocol

import "strconv"

// Language is the LanguageCode a peer names itself with. Unknown names and
// numbers become LanguageOther, so that a client newer than us is served.
type Language uint8

// Languages in the order of RocketMQ's enum; the value is the byte on the wire
// in the binary header.
const (
	LanguageJava Language = iota
	LanguageCPP
	LanguageDotNet
	LanguagePython
	LanguageDelphi
	LanguageErlang
	LanguageRuby
	LanguageOther
	LanguageHTTP
	LanguageGo
	LanguagePHP
	LanguageOMS
	LanguageRust
	LanguageNodeJS
)

// String returns RocketMQ's name of the language.
func (l Language) String() string {
	switch l {
	case LanguageJava:
		return "JAVA"
	case LanguageCPP:
		return "CPP"
	case LanguageDotNet:
		return "DOTNET"
	case LanguagePython:
		return "PYTHON"
	case LanguageDelphi:
		return "DELPHI"
	case LanguageErlang:
		return "ERLANG"
	case LanguageRuby:
		return "RUBY"
	case LanguageHTTP:
		return "HTTP"
	case LanguageGo:
		return "GO"
	case LanguagePHP:
		return "PHP"
	case LanguageOMS:
		return "OMS"
	case LanguageRust:
		return "RUST"
	case LanguageNodeJS:
		return "NODE_JS"
	default:
		return "OTHER"
	}
}

// ParseLanguage returns the language with RocketMQ's name text, or the one with
// that ordinal when text is a number, else LanguageOther.
func ParseLanguage(text []byte) Language {
	switch string(text) {
	case "JAVA":
		return LanguageJava
	case "CPP":
		return LanguageCPP
	case "DOTNET":
		return LanguageDotNet
	case "PYTHON":
		return LanguagePython
	case "DELPHI":
		return LanguageDelphi
	case "ERLANG":
		return LanguageErlang
	case "RUBY":
		return LanguageRuby
	case "HTTP":
		return LanguageHTTP
	case "GO":
		return LanguageGo
	case "PHP":
		return LanguagePHP
	case "OMS":
		return LanguageOMS
	case "RUST":
		return LanguageRust
	case "NODE_JS":
		return LanguageNodeJS
	}
	if n, ok := parseInt32(text); ok {
		return languageOf(n)
	}
	return LanguageOther
}

// languageOf maps an enum ordinal to a language.
func languageOf(n int32) Language {
	if n < 0 || n > int32(LanguageNodeJS) {
		return LanguageOther
	}
	return Language(n)
}

// Version ordinals of RocketMQ releases that change behaviour (MQVersion).
const (
	// Version is what we put into every response and request: 4.9.4. Clients read
	// it from heartbeat responses to decide which features a broker has.
	Version int32 = 401
	// VersionStandardJSON is the first version that asks for standard JSON routes.
	VersionStandardJSON int32 = 401
	// VersionRegisterBody is the first broker version that sends RegisterBrokerBody
	// rather than a bare topic table with REGISTER_BROKER.
	VersionRegisterBody int32 = 37
	// VersionResetOffset is the first client version that understands 220.
	VersionResetOffset int32 = 28
	// VersionConsumeDirectly is the first client version that understands 307 and 309.
	VersionConsumeDirectly int32 = 62
	// VersionMaxReconsume is the first client version whose maxReconsumeTimes counts.
	VersionMaxReconsume int32 = 121
)

// VersionDesc returns a readable release name for a version ordinal of 4.x and
// later ("V4_9_4"), or the number itself for others.
func VersionDesc(v int32) string {
	name := func(major, n int32) string {
		s := "V" + strconv.Itoa(int(major)) + "_" + strconv.Itoa(int(n/20)) + "_" + strconv.Itoa(int(n%20+1)/2)
		if n%2 != 0 {
			s += "_SNAPSHOT"
		}
		return s
	}
	switch {
	case v >= 413:
		return name(5, v-413)
	case v >= 213:
		return name(4, v-213)
	default:
		return strconv.Itoa(int(v))
	}
}
