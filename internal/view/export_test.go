package view

// Mapped is how many files of arrays are mapped.
func (v *View) Mapped() int { return len(v.segments[0].mapped) }
