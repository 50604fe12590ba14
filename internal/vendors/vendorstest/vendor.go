package vendorstest

import "fmt"

type vendor struct {
	ID         string   `json:"vendor_id"`
	Name       string   `json:"name"`
	Type       []string `json:"type"`
	Website    string   `json:"website"`
	BasicInfo  basic    `json:"basic_info"`
	Industries []string `json:"industries"`
	Abilities  []string `json:"capabilities"`
	Offerings  struct {
		Products []product `json:"products"`
	} `json:"offerings"`
	Delivery struct {
		Deployment string `json:"deployment"`
		Scratch    bool   `json:"is_scratch"`
		Weeks      int    `json:"lead_time_weeks"`
	} `json:"delivery"`
	Certifications []string `json:"certifications"`
	Regions        []string `json:"regions"`
	Score          float64  `json:"score_num"`
	Engagement     struct {
		Status  string `json:"status"`
		Updated string `json:"updated_at"`
	} `json:"engagement"`
	Tags  []string `json:"tags"`
	Notes *string  `json:"notes"`
}

type basic struct {
	Description string `json:"description"`
	Founded     int    `json:"founded"`
	Employees   int    `json:"employees"`
	Listed      bool   `json:"listed"`
	Seat        struct {
		Prefecture string `json:"prefecture"`
	} `json:"headquarters"`
}

type product struct {
	Name        string `json:"name"`
	Code        string `json:"code"`
	Description string `json:"description"`
	Price       int    `json:"price_jpy_month"`
}

// record makes record i. What an edit may change is drawn last, from dice of the record's revision.
func record(o Options, i int) *vendor {
	d := newDice(o.Seed, uint64(i), purposeText)
	f := &fields[d.below(len(fields))]
	v := &vendor{ID: ID(i), Name: name(o.Seed, i, f)}
	v.Website = fmt.Sprintf("https://www.v%07d.example/", i+1)
	v.Type = some(d, types, 1+d.below(2))
	v.BasicInfo.Founded = 1950 + d.below(75)
	v.BasicInfo.Employees = 5 + d.below(60)*d.below(60)
	v.BasicInfo.Listed = d.below(10) == 0
	v.BasicInfo.Seat.Prefecture = pick(d, prefectures)
	v.Industries = some(d, industries, 1+d.below(3))
	v.Abilities = some(d, f.abilities, 2+d.below(3))
	for p := range 1 + d.below(2) {
		v.Offerings.Products = append(v.Offerings.Products, product{
			Name:        pick(d, f.brands) + pick(d, productEnds),
			Code:        fmt.Sprintf("%c%c-%d", 'A'+rune(d.below(26)), 'A'+rune(d.below(26)), 10*(i*2+p)+d.below(10)),
			Description: pick(d, f.objects) + "の" + pick(d, v.Abilities) + pick(d, productKinds),
			Price:       1000 * (5 + d.below(400)),
		})
	}
	v.Delivery.Deployment = pick(d, deployments)
	v.Delivery.Scratch = d.below(4) == 0
	v.Delivery.Weeks = 1 + d.below(26)
	v.Certifications = some(d, certifications, d.below(4))
	v.Regions = some(d, regions, 1+d.below(3))
	v.Tags = some(d, f.abilities, 2)

	e := newDice(o.Seed, uint64(i), purposeEdit+uint64(o.revision(i)))
	v.BasicInfo.Description = description(e, f, v.BasicInfo.Seat.Prefecture)
	v.Score = round(3 + float64(e.below(71))/10)
	v.Engagement.Status = pick(e, statuses)
	v.Engagement.Updated = fmt.Sprintf("2025-%02d-%02dT%02d:00:00+09:00", 1+e.below(12), 1+e.below(28), 9+e.below(9))
	if e.below(3) > 0 {
		note := pick(e, notes)
		v.Notes = &note
	}
	return v
}

// name is different for every i: the digits of i in a mixed radix choose its parts, and a branch number follows where
// they are used up. The seed only turns the wheel.
func name(seed uint64, i int, f *field) string {
	n := len(nameHeads) * len(nameMiddles) * len(nameForms)
	at := (i + int(seed%uint64(n))) % n
	head := nameHeads[at%len(nameHeads)]
	at /= len(nameHeads)
	middle := nameMiddles[at%len(nameMiddles)]
	form := nameForms[at/len(nameMiddles)]
	s := head + middle + f.trade
	if branch := i / n; branch > 0 {
		s += fmt.Sprintf("第%d", branch+1)
	}
	return fmt.Sprintf(form, s)
}

func description(d *dice, f *field, prefecture string) string {
	s := fmt.Sprintf(pick(d, openings), pick(d, f.objects), pick(d, f.abilities))
	s += fmt.Sprintf(pick(d, middles), pick(d, f.objects), pick(d, f.gains))
	if d.below(2) == 0 {
		s += fmt.Sprintf(pick(d, closings), prefecture)
	}
	return s
}
