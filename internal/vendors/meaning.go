package vendors

import (
	"strings"
	"unicode"
)

// silent tells whether a field's values carry no meaning to search by: identifiers, links, dates, and personal data.
func silent(key []byte) bool {
	if len(key) > 0 && key[0] == '_' {
		return true
	}
	switch string(key) {
	case "id", "uuid", "url", "uri", "link", "links", "website", "homepage", "logo", "image", "icon", "email", "mail",
		"tel", "phone", "fax", "date", "contact", "contacts", "postal_code", "zip", "hash", "checksum", "version":
		return true
	}
	for _, suffix := range [...]string{"_id", "_ids", "_url", "_urls", "_at", "_date", "_email", "_phone"} {
		if len(key) > len(suffix) && string(key[len(key)-len(suffix):]) == suffix {
			return true
		}
	}
	return false
}

// meaningless tells whether a tidy value says nothing: no letter in it but those of a date, a placeholder, a link, an
// address, an opaque token.
func meaningless(s string) bool {
	letters := false
	for _, r := range s {
		if unicode.IsLetter(r) && !strings.ContainsRune("年月日時分秒円万億", r) {
			letters = true
			break
		}
	}
	if !letters {
		return true
	}
	switch s {
	case "不明", "未定", "未設定", "なし", "無し", "該当なし", "N/A", "n/a", "NA", "TBD", "none", "None", "null", "unknown":
		return true
	}
	if s[0] >= 0x80 || strings.ContainsRune(s, ' ') {
		return false
	}
	return strings.HasPrefix(s, "http://") || strings.HasPrefix(s, "https://") || strings.HasPrefix(s, "www.") ||
		isAddress(s) || isTimestamp(s) || isToken(s)
}

// isAddress recognises an e-mail address by its shape.
func isAddress(s string) bool {
	at := strings.IndexByte(s, '@')
	return at > 0 && at == strings.LastIndexByte(s, '@') && strings.IndexByte(s[at:], '.') > 1
}

// isTimestamp recognises 2025-09-24T10:00:00Z and its kin; dates without a letter are no text anyway.
func isTimestamp(s string) bool {
	if len(s) < len("2006-01-02T15") || s[10] != 'T' {
		return false
	}
	for i := range 10 {
		if i == 4 || i == 7 {
			if s[i] != '-' && s[i] != '/' {
				return false
			}
		} else if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// isToken recognises UUIDs and digests (16 or more hexadecimal digits, some of them numerals) and any unbroken ASCII
// of more than 64 characters.
func isToken(s string) bool {
	digits, hex := 0, 0
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 0x80:
			return false
		case c >= '0' && c <= '9':
			digits++
			hex++
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			hex++
		case c != '-':
			hex = -len(s)
		}
	}
	return len(s) > 64 || hex >= 16 && digits > 0
}
