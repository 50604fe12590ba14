package snapshot

// Curve is how near the records of a snapshot come to questions that have nothing to do with them: what a cosine must
// stand above to mean anything. It differs from model to model.
type Curve struct {
	Noise  float64 `json:"noise"`  // median of the best cosine to each of these questions
	Spread float64 `json:"spread"` // half of what the middle two thirds of these span
}

// Usable tells whether the numbers, which come from a manifest, can be reckoned with.
func (c Curve) Usable() bool {
	return c.Noise >= -1 && c.Noise <= 1 && c.Spread >= 1e-4 && c.Spread <= 1
}
