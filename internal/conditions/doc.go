// Package conditions finds in a question what it asks of single fields: "面談済みの会社" asks that the status is 面談済,
// "従業員100人以上" that the number of employees is at least 100. It knows nothing but the catalogue's own values, the
// words that people gave them (synonyms.json) and a few business words (glossary.go).
//
// A value counts where it stands as a word of its own: 上場 in 上場企業, not in 未上場; the longest match wins, and a word
// with 以外 behind it excludes. A value that the records' texts are full of (クラウド, 物流) is what people look for rather than
// a condition: it counts only with an ending that makes it one (物流業向け), or as one of several words typed with spaces.
//
// What is found reorders an answer and takes nothing out of it, so a mistake costs a place.
package conditions
