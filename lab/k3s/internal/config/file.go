package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// setting is one key with its values, and the place it came from for error messages.
type setting struct {
	key      string
	values   []string
	isList   bool
	isNumber bool
	where    string
}

// readFiles merges file and the drop-ins of file.d: the last value of a key wins, and "key+" appends.
func readFiles(file string, mustExist bool) ([]setting, []error) {
	var errs []error
	files := []string{file}
	if _, err := os.Stat(file); err != nil {
		if mustExist || !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		files = nil
	}
	entries, err := os.ReadDir(file + ".d") // in the order of names, byte by byte
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	for _, e := range entries {
		if ext := strings.ToLower(filepath.Ext(e.Name())); !e.IsDir() && (ext == ".yaml" || ext == ".yml") {
			files = append(files, filepath.Join(file+".d", e.Name()))
		}
	}

	var merged []setting
	for _, f := range files {
		settings, err := readFile(f)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, s := range settings {
			name, appends := strings.CutSuffix(s.key, "+")
			name = longName(name)
			s.key = name
			i := slices.IndexFunc(merged, func(m setting) bool { return m.key == name })
			switch {
			case i < 0:
				s.isList = s.isList || appends
				merged = append(merged, s)
			case appends:
				merged[i].values = append(merged[i].values, s.values...)
				merged[i].isList = true
				merged[i].where = s.where
			default:
				merged[i] = s
			}
		}
	}
	return merged, errs
}

func readFile(file string) ([]setting, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(doc.Content) == 0 {
		return nil, nil
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return nil, nil
	}
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s: line %d: keys and values are wanted", file, root.Line)
	}
	var settings []setting
	seen := map[string]bool{}
	for i := 0; i+1 < len(root.Content); i += 2 {
		k, v := root.Content[i], root.Content[i+1]
		s := setting{key: k.Value, where: fmt.Sprintf("%s: line %d", file, k.Line)}
		if seen[s.key] {
			return nil, fmt.Errorf("%s: key %q is given twice", s.where, s.key)
		}
		seen[s.key] = true
		if v.Kind == yaml.AliasNode {
			v = v.Alias
		}
		switch v.Kind {
		case yaml.ScalarNode:
			s.values = []string{v.Value}
			if v.Tag == "!!null" { // k3s makes --key= of it: nothing for a text, an error for a number
				s.values = []string{""}
			}
			s.isNumber = v.Tag == "!!int" || v.Tag == "!!float"
		case yaml.SequenceNode:
			s.isList = true
			for _, item := range v.Content {
				if item.Kind != yaml.ScalarNode {
					return nil, fmt.Errorf("%s: key %q: line %d: a plain value is wanted", s.where, s.key, item.Line)
				}
				s.values = append(s.values, item.Value)
			}
		default:
			return nil, fmt.Errorf("%s: key %q: a value or a list is wanted", s.where, s.key)
		}
		settings = append(settings, s)
	}
	return settings, nil
}

// parseArgs reads --key=value, --key value and bare --key for booleans. Repeated list flags gather in one setting.
func parseArgs(role Role, args []string) (settings []setting, file string, err error) {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if !strings.HasPrefix(arg, "-") || strings.TrimLeft(arg, "-") == "" {
			return nil, "", fmt.Errorf("unexpected argument %q", arg)
		}
		name, val, hasValue := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		name = longName(name)
		known, ok := k3sKeys[name]
		if !ok || !known.belongs(role) {
			return nil, "", notDefined(name)
		}
		if !hasValue {
			if known.kind == "bool" {
				val = "true"
			} else if i+1 < len(args) {
				i++
				val = args[i]
			} else {
				return nil, "", fmt.Errorf("flag needs an argument: -%s", name)
			}
		}
		if name == "config" {
			file = val
			continue
		}
		if known.kind == "list" {
			if j := slices.IndexFunc(settings, func(s setting) bool { return s.key == name }); j >= 0 {
				settings[j].values = append(settings[j].values, val)
				continue
			}
		}
		settings = append(settings, setting{key: name, values: []string{val}, where: "command line"})
	}
	return settings, file, nil
}
