package autoscale

import (
	"math"
	"strconv"
	"time"
)

// count writes a number of things, as "1,840".
func count(x float64) string {
	if math.IsNaN(x) || math.IsInf(x, 0) || math.Abs(x) >= 1e15 {
		return strconv.FormatFloat(x, 'g', 3, 64)
	}
	digits := strconv.FormatFloat(math.Abs(x), 'f', 0, 64)
	out := make([]byte, 0, len(digits)+len(digits)/3+1)
	if x < 0 && digits != "0" {
		out = append(out, '-')
	}
	for i := range len(digits) {
		if i > 0 && (len(digits)-i)%3 == 0 {
			out = append(out, ',')
		}
		out = append(out, digits[i])
	}
	return string(out)
}

// rate writes a rate or a percentage, with as many places as it takes to tell it
// from its neighbours: "1,840", "19", "2.5", "0.042".
func rate(x float64) string {
	switch a := math.Abs(x); {
	case math.IsNaN(x) || a >= 100 || a == 0:
		return count(x)
	case a >= 1:
		return strconv.FormatFloat(math.Round(x*10)/10, 'f', -1, 64)
	}
	return strconv.FormatFloat(x, 'g', 2, 64)
}

// seconds writes a number of seconds, as "96s", "1h36m" or "231 days".
func seconds(x float64) string {
	switch {
	case math.IsNaN(x):
		return "not known"
	case x >= 48*3600:
		return count(x/86400) + " days"
	case x >= 600:
		d := (time.Duration(x) * time.Second).Round(time.Minute).String()
		return d[:len(d)-len("0s")]
	case x >= 10:
		return strconv.FormatFloat(x, 'f', 0, 64) + "s"
	}
	return rate(x) + "s"
}
