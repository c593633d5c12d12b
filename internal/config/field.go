package config

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

var durationType = reflect.TypeFor[time.Duration]()

// collect walks a struct and returns its tagged fields; embedded structs are
// entered.
func collect(v reflect.Value, prefix []int) ([]Field, error) {
	var out []Field
	t := v.Type()
	for i := range t.NumField() {
		sf := t.Field(i)
		index := append(slices.Clone(prefix), i)
		if sf.Anonymous && sf.Type.Kind() == reflect.Struct {
			inner, err := collect(v.Field(i), index)
			if err != nil {
				return nil, err
			}
			out = append(out, inner...)
			continue
		}
		key := sf.Tag.Get("cfg")
		if key == "" {
			continue
		}
		if !sf.IsExported() {
			return nil, fmt.Errorf("config: field %s of key %s is not exported", sf.Name, key)
		}
		f := Field{
			Key: key, Env: sf.Tag.Get("env"), Important: sf.Tag.Get("important") == "true",
			Live: sf.Tag.Get("live") == "true", Group: sf.Tag.Get("group") == "true", index: []int{i}, unit: sf.Tag.Get("unit"),
			min: sf.Tag.Get("min"), max: sf.Tag.Get("max"),
			Aliases: splitTag(sf.Tag.Get("alias")), enum: splitTag(sf.Tag.Get("enum")),
		}
		if err := f.check(sf.Type); err != nil {
			return nil, err
		}
		if f.Group && !f.Live {
			return nil, fmt.Errorf("config: key %s is the group's and not live", key)
		}
		f.Default = f.text(v)
		f.index = index
		out = append(out, f)
	}
	return out, nil
}

func splitTag(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

// check refuses tags that cannot work and words what the key allows.
func (f *Field) check(t reflect.Type) error {
	switch {
	case t == durationType:
		if f.unit != "ms" && f.unit != "s" {
			return fmt.Errorf(`config: key %s is a duration and needs the tag unit:"ms" or unit:"s"`, f.Key)
		}
		f.Allowed = map[string]string{"ms": "milliseconds", "s": "seconds"}[f.unit]
	case t.Kind() == reflect.String:
		f.Allowed = "text"
	case t.Kind() == reflect.Bool:
		f.Allowed = "true or false"
	case t.Kind() == reflect.Int || t.Kind() == reflect.Int64 || t.Kind() == reflect.Int32:
		f.Allowed = "a whole number"
	case t.Kind() == reflect.Uint64:
		f.Allowed = "a whole number of at least 0"
	case t.Kind() == reflect.Float64:
		f.Allowed = "a number"
	default:
		return fmt.Errorf("config: key %s has the unsupported type %s", f.Key, t)
	}
	for _, bound := range []string{f.min, f.max} {
		if bound == "" {
			continue
		}
		if _, err := strconv.ParseFloat(bound, 64); err != nil {
			return fmt.Errorf("config: key %s has the bad bound %q", f.Key, bound)
		}
	}
	switch {
	case len(f.enum) > 0:
		f.Allowed = "one of " + strings.Join(f.enum, ", ")
	case f.min != "" && f.max != "":
		f.Allowed += " " + f.min + ".." + f.max
	case f.min != "":
		f.Allowed += ", at least " + f.min
	case f.max != "":
		f.Allowed += ", at most " + f.max
	}
	return nil
}

// text formats the field of struct v as it would stand in a file.
func (f *Field) text(v reflect.Value) string {
	fv := v.FieldByIndex(f.index)
	switch {
	case fv.Type() == durationType:
		d := time.Duration(fv.Int())
		unit := f.unitDuration()
		if d%unit != 0 {
			return d.String()
		}
		return strconv.FormatInt(int64(d/unit), 10)
	case fv.Kind() == reflect.String:
		return fv.String()
	case fv.Kind() == reflect.Bool:
		return strconv.FormatBool(fv.Bool())
	case fv.Kind() == reflect.Uint64:
		return strconv.FormatUint(fv.Uint(), 10)
	case fv.Kind() == reflect.Float64:
		return strconv.FormatFloat(fv.Float(), 'g', -1, 64)
	}
	return strconv.FormatInt(fv.Int(), 10)
}

func (f *Field) unitDuration() time.Duration {
	if f.unit == "s" {
		return time.Second
	}
	return time.Millisecond
}

// bad words the error for a value the key does not take.
func (f *Field) bad(value string) error {
	return fmt.Errorf("%s=%q is not allowed: %s expects %s", f.Key, value, f.Key, f.Allowed)
}

// parse reads value into the field of struct v.
func (f *Field) parse(v reflect.Value, value string) error {
	fv := v.FieldByIndex(f.index)
	// Java keeps blanks at the end of a line and then fails to parse the
	// number, silently. Nobody means them.
	value = strings.TrimSpace(value)
	if len(f.enum) > 0 {
		for _, e := range f.enum {
			if strings.EqualFold(e, value) {
				value = e
			}
		}
		if !slices.Contains(f.enum, value) {
			return f.bad(value)
		}
	}
	var number float64
	switch {
	case fv.Type() == durationType:
		d, err := f.parseDuration(value)
		if err != nil || !f.inBounds(float64(d)/float64(f.unitDuration())) {
			return f.bad(value)
		}
		fv.SetInt(int64(d))
		return nil
	case fv.Kind() == reflect.String:
		fv.SetString(value)
		return nil
	case fv.Kind() == reflect.Bool:
		switch strings.ToLower(value) {
		case "true":
			fv.SetBool(true)
		case "false":
			fv.SetBool(false)
		default:
			return f.bad(value)
		}
		return nil
	case fv.Kind() == reflect.Uint64:
		n, err := strconv.ParseUint(value, 10, 64)
		if err != nil {
			return f.bad(value)
		}
		fv.SetUint(n)
		number = float64(n)
	case fv.Kind() == reflect.Float64:
		n, err := strconv.ParseFloat(value, 64)
		if err != nil || math.IsNaN(n) || math.IsInf(n, 0) {
			return f.bad(value)
		}
		fv.SetFloat(n)
		number = n
	default:
		n, err := strconv.ParseInt(value, 10, fv.Type().Bits())
		if err != nil {
			return f.bad(value)
		}
		fv.SetInt(n)
		number = float64(n)
	}
	if !f.inBounds(number) {
		return f.bad(value)
	}
	return nil
}

// parseDuration accepts a bare number in the key's unit, or Go's notation.
func (f *Field) parseDuration(value string) (time.Duration, error) {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return time.ParseDuration(value)
	}
	unit := f.unitDuration()
	if n > math.MaxInt64/int64(unit) || n < math.MinInt64/int64(unit) {
		return 0, strconv.ErrRange
	}
	return time.Duration(n) * unit, nil
}

func (f *Field) inBounds(n float64) bool {
	if f.min != "" {
		if lo, _ := strconv.ParseFloat(f.min, 64); n < lo {
			return false
		}
	}
	if f.max != "" {
		if hi, _ := strconv.ParseFloat(f.max, 64); n > hi {
			return false
		}
	}
	return true
}
