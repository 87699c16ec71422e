package bootstrap

import (
	"context"
	"errors"
	"slices"

	"github.com/k3s-io/kine/pkg/client"
	"github.com/k3s-io/kine/pkg/endpoint"
	log "github.com/sirupsen/logrus"
)

// Prefix is where the datastore keeps the sealed data; the rest of the key is derived from the token.
const Prefix = "/bootstrap/"

// What k3s says of a token that is not the one the data was sealed with, and of more data than there may be.
var (
	ErrOtherToken = errors.New("bootstrap data already found and encrypted with different token")
	errMultiple   = errors.New("found multiple bootstrap keys in storage")
)

// Store is the part of the datastore's client that is used here.
type Store interface {
	List(ctx context.Context, prefix string, revision int) ([]client.Value, error)
	Create(ctx context.Context, key string, value []byte) error
	Update(ctx context.Context, key string, revision int64, value []byte) error
	Delete(ctx context.Context, key string, revision int64) error
	Close() error
}

// Connect gives a client of SQLite's server or of etcd.
func Connect(datastore endpoint.ETCDConfig) (Store, error) { return client.New(datastore) }

// find gives the value sealed with this password; nil when the datastore has no bootstrap data at all.
func find(ctx context.Context, s Store, password string) (*client.Value, error) {
	values, err := s.List(ctx, Prefix, 0)
	if err != nil || len(values) == 0 {
		return nil, err
	}
	if len(values) > 1 {
		log.Warn(errMultiple)
	}
	i := slices.IndexFunc(values, func(v client.Value) bool { return string(v.Key) == Key(password) })
	if i < 0 {
		return nil, ErrOtherToken
	}
	return &values[i], nil
}

// Load gives the datastore's data, nil when it has none. The error is ErrOtherToken when it was sealed with another
// password.
func Load(ctx context.Context, s Store, password string) (Data, error) {
	value, err := find(ctx, s, password)
	if err != nil || value == nil {
		return nil, err
	}
	return Open(value.Data, password)
}

// Save writes a server's files to the datastore. Data that is there already stays as it is, even when files have
// changed since, unless override says otherwise.
func Save(ctx context.Context, s Store, serverDir, password string, override bool) error {
	data, err := Read(serverDir)
	if err != nil {
		return err
	}
	sealed, err := data.Seal(password)
	if err != nil {
		return err
	}
	value, err := find(ctx, s, password)
	switch {
	case err != nil:
		return err
	case value == nil:
		return s.Create(ctx, Key(password), sealed)
	case override:
		return s.Update(ctx, Key(password), value.Modified, sealed)
	}
	return nil
}

// Rotate seals the datastore's data with another password, and then takes the present files: the new value is there
// before the old one is deleted.
func Rotate(ctx context.Context, s Store, serverDir, old, fresh string) error {
	values, err := s.List(ctx, Prefix, 0)
	if err != nil {
		return err
	}
	if len(values) > 1 {
		return errMultiple
	}
	if old != fresh && len(values) == 1 {
		value := values[0]
		if string(value.Key) != Key(old) {
			return ErrOtherToken
		}
		data, err := Open(value.Data, old)
		if err != nil {
			return err
		}
		sealed, err := data.Seal(fresh)
		if err != nil {
			return err
		}
		if err := s.Create(ctx, Key(fresh), sealed); err != nil {
			return err
		}
		log.Infof("created bootstrap key %s", Key(fresh))
		if err := s.Delete(ctx, string(value.Key), value.Modified); err != nil {
			return err
		}
	}
	return Save(ctx, s, serverDir, fresh, true)
}
