package config

import (
	"slices"
	"strings"
)

// Flags adds the values of a *-arg key to a component's default flags (--name=value), as k3s does: name=value replaces
// the default of that name, name+=value comes after it and name-=value before it, each as a repeated flag. A name alone
// means true. The flags are sorted by name.
func Flags(defaults, extra []string) []string {
	initial, values := map[string]string{}, map[string][]string{}
	for _, d := range defaults {
		name, value := cutFlag(d)
		initial[name] = value
	}
	for _, e := range extra {
		name, value := cutFlag(e)
		plain := strings.TrimRight(name, "+-")
		mode := name[len(plain):]
		name = plain
		before := values[name]
		if d, ok := initial[name]; ok && mode != "" {
			before = append([]string{d}, before...)
		}
		delete(initial, name)
		if mode == "-" {
			values[name] = append([]string{value}, before...)
		} else {
			values[name] = append(before, value)
		}
	}
	for name, value := range initial {
		values[name] = []string{value}
	}
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	var flags []string
	for _, name := range names {
		for _, value := range values[name] {
			flags = append(flags, "--"+name+"="+value)
		}
	}
	return flags
}

func cutFlag(flag string) (name, value string) {
	name, value, found := strings.Cut(strings.TrimLeft(flag, "-"), "=")
	if !found {
		value = "true"
	}
	return name, value
}
