package auth

import "context"

// Remarks takes what an authenticator has to say beside its verdict.
type Remarks interface {
	// Warn is for the client, as a header of its answer.
	Warn(text string)
	// Annotate is for the request's audit event.
	Annotate(key, value string)
}

type remarksKey struct{}

// WithRemarks hands the remarks on requests below ctx to to. A token that is asked about, not used, gives no remarks: for
// those hand over nil.
func WithRemarks(ctx context.Context, to Remarks) context.Context {
	return context.WithValue(ctx, remarksKey{}, to)
}

// remarksOf is where to say what there is to say; nobody may be listening.
func remarksOf(ctx context.Context) Remarks {
	if to, ok := ctx.Value(remarksKey{}).(Remarks); ok {
		return to
	}
	return silence{}
}

type silence struct{}

func (silence) Warn(string)             {}
func (silence) Annotate(string, string) {}
