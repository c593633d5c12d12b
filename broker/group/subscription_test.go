package group

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
)

func TestSubscriptionMatches(t *testing.T) {
	code := func(tag string) int64 { return message.TagsCode([]byte(tag)) }
	for _, c := range []struct {
		name            string
		expression, typ string
		match, other    []string
		all             bool
		tags            []string
	}{
		{"everything", "*", "", []string{"", "a"}, nil, true, []string{}},
		{"an empty text is everything", "", "TAG", []string{"", "a"}, nil, true, []string{}},
		{"one tag", "TagA", "TAG", []string{"TagA"}, []string{"", "TagB", "taga"}, false, []string{"TagA"}},
		{"tags are trimmed", " TagA||  TagB || ", "TAG", []string{"TagA", "TagB"}, []string{"", " TagA"}, false, []string{"TagA", "TagB"}},
		{"tags beyond ASCII", "标签 || 😀", "TAG", []string{"标签", "😀"}, []string{"x"}, false, []string{"标签", "😀"}},
		{"SQL is not judged here", "a > 1", "SQL92", []string{"", "a"}, nil, false, []string{}},
	} {
		s := NewSubscription("T", c.expression, c.typ, 7)
		for _, tag := range c.match {
			require.True(t, s.Match(code(tag)), "%s: %q", c.name, tag)
		}
		for _, tag := range c.other {
			require.False(t, s.Match(code(tag)), "%s: %q", c.name, tag)
		}
		require.Equal(t, c.all, s.All(), c.name)
		require.Equal(t, c.tags, s.Data.TagsSet, c.name)
		require.Equal(t, int64(7), s.Version())
	}
}

func TestSubscriptionExpression(t *testing.T) {
	s := NewSubscription("T", "a > 1", "SQL92", 7)
	e, err := s.Expression()
	require.NoError(t, err)
	require.False(t, s.IsTag())
	require.True(t, e.Match([]byte("a\x012\x02")))
	again, _ := s.Expression()
	require.Same(t, e, again, "compiled once")
	_, err = NewSubscription("T", "a >", "SQL92", 7).Expression()
	require.ErrorContains(t, err, "position 4")
	_, err = NewSubscription("T", "x", "XPATH", 7).Expression()
	require.ErrorContains(t, err, "XPATH")
	tags := NewSubscription("T", "x", "", 7)
	e, err = tags.Expression()
	require.NoError(t, err)
	require.Nil(t, e)
	require.True(t, tags.IsTag())
}

func TestSubscriptionCodesAreComputed(t *testing.T) {
	s := fromData(protocol.SubscriptionData{
		Topic: "T", SubString: "TagA", TagsSet: []string{"TagA", "TagB"}, CodeSet: []int32{1, 2, 3},
	})
	require.Equal(t, []int32{2598919, 2598920}, s.Data.CodeSet)
	require.Equal(t, protocol.ExpressionTag, s.Data.ExpressionType)
	require.True(t, s.Match(2598920), "a tag that stands in tagsSet alone")
	require.False(t, s.Match(1))

	legacy := fromData(protocol.SubscriptionData{Topic: "T", SubString: "x", ClassFilterMode: true})
	require.True(t, legacy.Match(0))
}
