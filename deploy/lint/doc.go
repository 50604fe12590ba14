// Package lint reads the Dockerfile with the parser and the linter of BuildKit. It is a module of its own because
// BuildKit's dependencies have no place in the program's.
package lint
