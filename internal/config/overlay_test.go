package config

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

type shared struct {
	Size int    `cfg:"size" live:"true" group:"true" min:"1" max:"9"`
	Low  int    `cfg:"low" live:"true" group:"true" min:"0" max:"9"`
	Own  int    `cfg:"own" live:"true"`
	Name string `cfg:"name" alias:"nom"`
}

func (s shared) Validate() error {
	if s.Low > s.Size {
		return errors.New("low is above size")
	}
	return nil
}

func TestOverlay(t *testing.T) {
	s, err := New(shared{Size: 3})
	require.NoError(t, err)
	require.NoError(t, s.Put("size", "4", "broker.conf"))
	var heard []string
	s.OnUpdate(func(_, _ *shared, keys []string) { heard = append(heard, keys...) })

	changed, refused := s.Overlay(map[string]string{"size": "7", "low": "5"}, "the group")
	require.Empty(t, refused)
	require.Equal(t, []string{"low", "size"}, changed)
	require.Equal(t, shared{Size: 7, Low: 5}, *s.Current())
	require.Equal(t, "the group", s.Source("size"))
	value, source, hidden := s.Own("size")
	require.True(t, hidden)
	require.Equal(t, []string{"4", "broker.conf"}, []string{value, source})

	// Other settings change below it, and it stays.
	_, err = s.Update(map[string]string{"own": "2"})
	require.NoError(t, err)
	require.Equal(t, shared{Size: 7, Low: 5, Own: 2}, *s.Current())

	// Values of another build: each that cannot be used leaves this process's own.
	changed, refused = s.Overlay(map[string]string{"size": "70", "low": "3", "own": "5", "later": "x", "nom": "y"}, "the group")
	require.Len(t, refused, 4)
	require.ErrorContains(t, errors.Join(refused...), `size="70" is not allowed: size expects a whole number 1..9`)
	require.Equal(t, []string{"low", "size"}, changed)
	require.Equal(t, shared{Size: 4, Low: 3, Own: 2}, *s.Current())
	require.Equal(t, "broker.conf", s.Source("size"))

	_, refused = s.Overlay(map[string]string{"low": "5"}, "the group")
	require.ErrorContains(t, errors.Join(refused...), "low is above size")
	require.Equal(t, 0, s.Current().Low)
	changed, refused = s.Overlay(nil, "the group")
	require.Empty(t, changed)
	require.Empty(t, refused)
	require.Equal(t, []string{"low", "size", "own", "low", "size", "low"}, heard)
}

func TestCheckChangesNothing(t *testing.T) {
	s, err := New(shared{Size: 3})
	require.NoError(t, err)
	texts, changed, err := s.Check(map[string]string{"size": " 5", "own": "0", "nom": ""})
	require.NoError(t, err)
	require.Equal(t, map[string]string{"size": "5", "own": "0", "name": ""}, texts)
	require.Equal(t, []string{"size"}, changed)
	require.Equal(t, 3, s.Current().Size)
	for text, values := range map[string]map[string]string{
		"1..9": {"size": "10"}, "unknown key siez": {"siez": "1"}, "needs a restart": {"name": "x"}, "above size": {"low": "4"},
	} {
		_, _, err := s.Check(values)
		require.ErrorContains(t, err, text)
	}
}

func TestGroupKeysAreLive(t *testing.T) {
	_, err := New(struct {
		Size int `cfg:"size" group:"true"`
	}{})
	require.ErrorContains(t, err, "not live")
}
