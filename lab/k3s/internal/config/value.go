package config

import (
	"fmt"
	"strconv"
	"strings"
)

// value is a typed place for a setting. isList and isNumber report how YAML wrote it.
type value interface {
	set(values []string, isList, isNumber bool) error
	kind() string // as in keys.txt
}

func one(values []string, isList bool) (string, error) {
	if isList || len(values) != 1 {
		return "", fmt.Errorf("one value is wanted, not a list")
	}
	return values[0], nil
}

type text string

func (t *text) kind() string { return "string" }
func (t *text) set(values []string, isList, _ bool) error {
	v, err := one(values, isList)
	*t = text(v)
	return err
}

type boolean bool

func (b *boolean) kind() string { return "bool" }
func (b *boolean) set(values []string, isList, _ bool) error {
	v, err := one(values, isList)
	if err != nil {
		return err
	}
	parsed, err := strconv.ParseBool(v)
	if err != nil {
		return fmt.Errorf("%q is not true or false", v)
	}
	*b = boolean(parsed)
	return nil
}

type integer int

func (i *integer) kind() string { return "int" }
func (i *integer) set(values []string, isList, _ bool) error {
	v, err := one(values, isList)
	if err != nil {
		return err
	}
	parsed, err := strconv.Atoi(v)
	if err != nil {
		return fmt.Errorf("%q is not a whole number", v)
	}
	*i = integer(parsed)
	return nil
}

// mode is a file mode. YAML reads an unquoted 0644 as the number 420, which k3s then reads as octal 0420;
// here that trap is an error.
type mode string

func (m *mode) kind() string { return "string" }
func (m *mode) set(values []string, isList, isNumber bool) error {
	v, err := one(values, isList)
	if err != nil {
		return err
	}
	if isNumber {
		return fmt.Errorf("quote the mode: %q", v)
	}
	if n, err := strconv.ParseUint(v, 8, 32); err != nil || n > 0o777 {
		return fmt.Errorf("%q is not a file mode such as \"0644\"", v)
	}
	*m = mode(v)
	return nil
}

// list is a repeated flag; where k3s splits values at commas, commas is true.
type list struct {
	dest   *[]string
	commas bool
}

func (l *list) kind() string { return "list" }
func (l *list) set(values []string, _, _ bool) error {
	*l.dest = nil
	for _, v := range values {
		if !l.commas {
			*l.dest = append(*l.dest, v)
			continue
		}
		for _, part := range strings.Split(v, ",") {
			if part = strings.TrimSpace(part); part != "" {
				*l.dest = append(*l.dest, part)
			}
		}
	}
	return nil
}
