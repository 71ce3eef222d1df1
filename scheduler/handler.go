package scheduler

import "net/http"

// Handler answers what people and programs ask the scheduler. Who may ask is for the caller to see to.
//
//	GET /why/NAMESPACE/POD     why a pod has no node, or has the one that it has (Why)
//	GET /metrics/resources     what each pod asks for and may have (podResources)
func (s *Scheduler) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+WhyPath+"{namespace}/{name}", s.serveWhy)
	mux.Handle("GET /metrics/resources", podResourcesHandler(s.config.Informers.Core().V1().Pods().Lister()))
	return mux
}
