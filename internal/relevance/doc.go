// Package relevance says how well a record answers a question: it merges what meaning (a cosine) and words (BM25 as a share
// of what the question could reach) know into one ranking, and into a score from 0 to 1 that means the same for every
// question, model and catalogue: above 0.5 fits, below 0.3 is merely the nearest of things that do not.
//
// A leg that knows nothing has no vote. Cosines say little by themselves (0.2 is far for one model, and 0.8 for another),
// so a snapshot carries a [snapshot.Curve]: how near its records come to questions that have nothing to do with them
// ([OffTopic]). A cosine counts by how far it stands above that, and above the other records for the same question;
// words count by their share of the question and by how much rare text they match, together.
//
// The weights are a logistic regression over labelled questions (testdata/questions/tuning.jsonl and offtopic-tuning.jsonl)
// with three models at once; docs/RELEVANCE.md shows it with the other half of the questions, on which nothing was fitted.
package relevance
