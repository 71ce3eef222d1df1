package server

import (
	"encoding/json"
	"net/http"
	"runtime"
	"runtime/debug"

	"k8s.io/apimachinery/pkg/version"
)

// Release is the Kubernetes release that knarr is wire compatible with. Clients compare it with their own.
const Release = "1.36.3"

// Version is the answer of /version. commit and date (RFC 3339) say what knarr itself was built from.
func Version(commit, date string) version.Info {
	return version.Info{
		Major: "1", Minor: "36", EmulationMajor: "1", EmulationMinor: "36", MinCompatibilityMajor: "1", MinCompatibilityMinor: "35",
		GitVersion: "v" + Release, GitCommit: commit, BuildDate: date,
		GoVersion: runtime.Version(), Compiler: runtime.Compiler, Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
}

// builtFrom is the commit and its date (RFC 3339) that the build has recorded; empty where it has not.
func builtFrom() (commit, date string) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "", ""
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			commit = s.Value
		case "vcs.time":
			date = s.Value
		}
	}
	return commit, date
}

// newVersion serves /version: always indented JSON.
func newVersion(info version.Info) http.Handler {
	return onlyGetOf("application/json", func(w http.ResponseWriter, _ *http.Request) {
		text, err := json.MarshalIndent(info, "", "  ")
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Write(text)
	})
}
