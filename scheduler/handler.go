package scheduler

import "net/http"

// Handler answers what people and programs ask the scheduler. Who may ask is for the caller to see to.
func (s *Scheduler) Handler() http.Handler {
	mux := http.NewServeMux()
	return mux
}
