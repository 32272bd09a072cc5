package devworkspace

// isPartOf tells whether all that is wanted is there. The API server adds
// defaults and status, so what is found may have more.
func isPartOf(wanted, found any) bool {
	switch wanted := wanted.(type) {
	case nil:
		return true
	case map[string]any:
		found, _ := found.(map[string]any)
		for name, value := range wanted {
			if !isPartOf(value, found[name]) {
				return false
			}
		}
		return true
	case []any:
		found, _ := found.([]any)
		if len(wanted) != len(found) {
			return false
		}
		for index, value := range wanted {
			if !isPartOf(value, found[index]) {
				return false
			}
		}
		return true
	default:
		return number(wanted) == number(found)
	}
}

// number makes numbers comparable that come from JSON and from a program.
func number(value any) any {
	if whole, ok := value.(int64); ok {
		return float64(whole)
	}
	return value
}
