// Package filter decides which messages a SQL92 subscription wants: RocketMQ's selector language over message
// properties, with three-valued logic. It is pure: it knows neither messages nor the network, only a stored property
// string (key 0x01 value 0x02 …), which it reads in place, in one pass, without building a map.
//
// # Grammar
//
// Keywords are case-insensitive; lowest precedence first:
//
//	or         := and { OR and }
//	and        := not { AND not }
//	not        := NOT not | equality
//	equality   := compare { ( "=" | "<>" ) compare | IS [NOT] NULL }
//	compare    := unary { ( ">" | ">=" | "<" | "<=" ) unary
//	            | [NOT] BETWEEN unary AND unary
//	            | [NOT] IN "(" string { "," string } ")"
//	            | [NOT] ( CONTAINS | STARTSWITH | ENDSWITH ) string }
//	unary      := ( "+" | "-" ) unary | primary
//	primary    := literal | identifier | "(" or ")"
//	literal    := 'text' ('' is a quote) | 12 | 12L | 1.5 | 1e3 | TRUE | FALSE
//	identifier := [A-Za-z_$][A-Za-z0-9_$]*
//
// Comments (-- to the end of the line, and /* … */) are skipped.
//
// # Values
//
// Every property is a string; a missing one is NULL. A string meets a number by being read as a number of the literal's
// type: an int32 literal reads int32, a bigger one int64, one with a point or exponent float64. Text that is no such
// number is an error, and an error anywhere means "not delivered", as NULL and FALSE do: RocketMQ answers so, and a
// subscriber who compares text with a number gets the same messages from both. Two properties compared by order are both
// read as float64; by equality they are compared as text.
//
// Callers: broker/pull.go for subscriptions, broker/client.go to refuse a bad expression at registration.
package filter
