// Package golden reads people's golden queries, each a question with what it must find, and measures a ranking by them.
// Whatever is misspelt must not pass for a test that was made, so keys are exact and an entry that tests nothing is an error.
package golden
