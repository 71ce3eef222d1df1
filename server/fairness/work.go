package fairness

import (
	"math"
	"time"
)

// What requests are expected to cost, after upstream's estimates: a seat for every 100 kB that a list has in hand, and
// seats for the time in which a write's watchers are told.
const (
	bytesPerSeat = 100_000
	// streamedBytes is what counts of a list, however long it is: answers are streamed, and a list has no more in hand.
	streamedBytes = 1_000_000
	mostSeats     = 10 // of a write
	// watchersPerSeat watchers are told of a write in the time toldIn, by one seat. The time is shorter than upstream's
	// 5 ms: an event is encoded once for all watchers, and what each costs is to be written to.
	watchersPerSeat = 10
	toldIn          = 500 * time.Microsecond
)

// Plain is the work of most requests.
func Plain() Work { return Work{Seats: 1} }

// Listing is the work of a list, or of a watch's initial events, of so many bytes. limit is what one request should
// take at most; 0 sets none.
func Listing(bytes int64, limit int) Work {
	seats := int(math.Ceil(float64(min(bytes, streamedBytes)) / bytesPerSeat))
	if limit > 0 {
		seats = min(seats, limit)
	}
	return Work{Seats: max(seats, 1)}
}

// Writing is the work of a write that so many watchers are told of.
func Writing(watchers, limit int) Work {
	w := Work{Seats: 1}
	if watchers < watchersPerSeat {
		return w
	}
	if limit == 0 || limit > mostSeats {
		limit = mostSeats
	}
	w.Final = int(math.Ceil(float64(watchers) / watchersPerSeat))
	w.Linger = toldIn
	return w.narrow(limit)
}
