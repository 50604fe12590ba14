package reconcile

import (
	"context"
	"fmt"
	"strings"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/vendors"
)

// noteRepairs takes note of what was put right in the catalogue and says so, once for each reading.
func (p *pass) noteRepairs(ctx context.Context, report vendors.Report) {
	for _, r := range report.Repairs {
		r.IDs = p.withoutErased(r.IDs)
		one := r.Repair
		if r.Kind == vendors.RepairDuplicateID {
			one.Renamed, one.Dropped = report.Renamed, report.Dropped
		}
		p.files.repairs = append(p.files.repairs, one)
		p.log.WarnContext(ctx, "catalogue repaired", "kind", r.Kind, "count", r.Count, "ids", r.IDs)
	}
}

// catalogueRepairs is what was put right in the catalogue as this pass found it; known is false when the pass did not find out.
func (p *pass) catalogueRepairs() (list []snapshot.Repair, known bool) {
	switch {
	case p.source.err != nil:
	case p.files != nil && p.files.docs != nil:
		return p.files.repairs, true
	case p.plan.do == promote: // it is of this source and these settings
		return p.chosen.m.Repairs, true
	case p.pointer != nil && desiredOf(p.pointer.Manifest) == p.source.digest() && p.pointer.SpecDigest == p.specDigest:
		return p.pointer.Repairs, true
	}
	return nil, false
}

func (p *pass) cleanCondition(c *conditions) {
	list, known := p.catalogueRepairs()
	switch {
	case !known && p.source.err != nil:
		for _, f := range failures(p.source.err) {
			if f.reason == catalogueInvalid {
				c.set(CatalogueClean, Unknown, refusedCatalogue, "see "+SourceReady)
			}
		}
	case !known: // what the last pass said stands
	case len(list) == 0:
		c.set(CatalogueClean, True, clean, "")
	default:
		var said []string
		for _, r := range list {
			said = append(said, explainRepair(r))
		}
		c.set(CatalogueClean, False, repairedCatalogue, strings.Join(said, "; ")+"; `indexer check` shows the lines")
	}
}

// maxShownID is how much of an id a condition spells out, in characters.
const maxShownID = 80

// explainRepair says for people what was done.
func explainRepair(r snapshot.Repair) string {
	shown := make([]string, len(r.IDs))
	for i, id := range r.IDs {
		if runes := []rune(id); len(runes) > maxShownID {
			id = string(runes[:maxShownID]) + "…"
		}
		shown[i] = id
	}
	ids := strings.Join(shown, ", ")
	if more := r.Count - len(r.IDs); more > 0 && len(r.IDs) > 0 {
		ids += fmt.Sprintf(" and %d more", more)
	}
	switch r.Kind {
	case vendors.RepairDuplicateID:
		records := fmt.Sprintf("%d records", r.Renamed)
		if r.Renamed == 1 {
			records = "1 record"
		}
		return fmt.Sprintf("repeated ids: %d (%s), %s renamed, %d left out", r.Count, ids, records, r.Dropped)
	case vendors.RepairNoID:
		return fmt.Sprintf("records without an id: %d, their names or contents became it (%s)", r.Count, ids)
	case vendors.RepairNoName:
		return fmt.Sprintf("records without a name: %d, their first text or id became it (%s)", r.Count, ids)
	case vendors.RepairEncoding:
		return "the file is in Shift_JIS"
	case vendors.RepairFloatID:
		return fmt.Sprintf("ids written like 12.0: %d (%s)", r.Count, ids)
	}
	return fmt.Sprintf("%s: %d (%s)", r.Kind, r.Count, ids)
}
