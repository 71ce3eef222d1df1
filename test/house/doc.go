// Package house keeps the rules of this repository by tests: what a newcomer relies on when reading, and what nobody
// should have to remember when writing. A rule states its reason where it fails.
package house
