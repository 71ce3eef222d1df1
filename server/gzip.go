package server

import (
	"hash/crc32"
	"io"
	"net/http"
	"sync"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
)

// Answers from this size in bytes on are compressed for clients that take it, as upstream does.
const gzipFrom = 128 * 1024

// A gzip answer is put together from parts that were compressed one by one, so that a list's blocks need not be
// compressed again while none of their objects change. Each part is a run of deflate blocks that ends on a byte
// boundary (a sync flush) and refers to nothing before it; one gzip header, the parts, an empty final block and the
// trailer make one ordinary gzip member. The trailer's CRC-32 follows from those of the parts.

// deflated is a part: its compressed bytes, and what the trailer has to know of the text.
type deflated struct {
	bytes []byte
	crc   uint32
	size  int // of the text
}

const (
	gzipHeader   = "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
	deflateEnd   = "\x03\x00" // an empty final block
	deflateLevel = 1
)

type deflater struct {
	w   *flate.Writer
	buf []byte
}

func (d *deflater) Write(p []byte) (int, error) {
	d.buf = append(d.buf, p...)
	return len(p), nil
}

// deflaters are reused: each holds several hundred kB of tables.
type deflaters struct{ pool sync.Pool }

// deflate compresses a part.
func (ds *deflaters) deflate(text ...[]byte) deflated {
	d, _ := ds.pool.Get().(*deflater)
	if d == nil {
		d = &deflater{}
		d.w, _ = flate.NewWriter(d, deflateLevel)
	}
	defer ds.pool.Put(d)
	d.buf = d.buf[:0]
	d.w.Reset(d)
	out := deflated{}
	for _, t := range text {
		d.w.Write(t)
		out.crc = crc32.Update(out.crc, crc32.IEEETable, t)
		out.size += len(t)
	}
	d.w.Flush()
	out.bytes = append([]byte(nil), d.buf...)
	return out
}

// gzipStream writes one gzip member made of parts.
type gzipStream struct {
	w    io.Writer
	crc  uint32
	size int
}

func newGzipStream(w io.Writer) *gzipStream {
	io.WriteString(w, gzipHeader)
	return &gzipStream{w: w}
}

func (g *gzipStream) add(d deflated) {
	g.w.Write(d.bytes)
	g.crc = crcConcat(g.crc, d.crc, d.size)
	g.size += d.size
}

// close writes the final block and the trailer.
func (g *gzipStream) close() {
	io.WriteString(g.w, deflateEnd)
	var t [8]byte
	for i := range 4 {
		t[i] = byte(g.crc >> (8 * i))
		t[4+i] = byte(uint32(g.size) >> (8 * i))
	}
	g.w.Write(t[:])
}

// crcConcat is the CRC-32 of two texts one after the other, from the CRC of each and the second's length. With the
// bits of a CRC read as a polynomial over GF(2), appending n bytes multiplies the first by x^(8n) modulo the CRC's
// polynomial.
func crcConcat(a, b uint32, n int) uint32 {
	return crcMultiply(crcPower(n), a) ^ b
}

// crcMultiply multiplies two polynomials modulo the CRC's; the highest bit is the coefficient of x^0.
func crcMultiply(a, b uint32) uint32 {
	var product uint32
	for bit := uint32(1 << 31); bit != 0; bit >>= 1 {
		if a&bit != 0 {
			product ^= b
		}
		if b&1 != 0 {
			b = b>>1 ^ crc32.IEEE
		} else {
			b >>= 1
		}
	}
	return product
}

// crcPower is x^(8n) modulo the CRC's polynomial, by repeated squaring.
func crcPower(n int) uint32 {
	power := uint32(1 << 31)  // x^0
	square := uint32(1 << 23) // x^8
	for ; n > 0; n >>= 1 {
		if n&1 != 0 {
			power = crcMultiply(square, power)
		}
		square = crcMultiply(square, square)
	}
	return power
}

// writeGzip answers with one compressed body.
func writeGzip(w http.ResponseWriter, code int, body []byte) {
	compressed(w)
	w.WriteHeader(code)
	z, _ := gzip.NewWriterLevel(w, deflateLevel)
	z.Write(body)
	z.Close()
}

// compressed marks an answer as gzip.
func compressed(w http.ResponseWriter) {
	w.Header().Set("Content-Encoding", "gzip")
	w.Header().Add("Vary", "Accept-Encoding")
}
