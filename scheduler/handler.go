package scheduler

import "net/http"

// Handler answers what people and programs ask the scheduler. Who may ask is for the caller to see to.
//
//	GET /why/NAMESPACE/POD     why a pod has no node, or has the one that it has (Why)
func (s *Scheduler) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+WhyPath+"{namespace}/{name}", s.serveWhy)
	return mux
}
