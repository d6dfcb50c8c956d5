package simulate

import (
	"fmt"
	"io"
	"math"
	"strings"
	"time"
)

// The plot, in pixels: for each trace, panels under one another over the same time.
const (
	plotWidth   = 960
	plotLeft    = 70
	plotRight   = 40
	panelHeight = 170
	panelGap    = 34
	plotHead    = 100
	plotFoot    = 46
)

// Colours that colour-blind readers tell apart, and dashes for prints in black.
var strokes = [...]struct{ colour, dash string }{
	{"#0072b2", ""}, {"#d55e00", "6 3"}, {"#009e73", "2 3"}, {"#cc79a7", "9 3 2 3"},
}

// WriteSVG draws the results of Compare: for each trace, the rate at which records
// arrive, the burn time with its threshold, and the replicas that each policy asked
// for, over the same time. The burn time ends at five times the threshold; what is
// longer is drawn there.
func WriteSVG(w io.Writer, results []Result, o Options) error {
	var groups [][]Result
	for i, r := range results {
		if i == 0 || results[i-1].Trace != r.Trace {
			groups = append(groups, nil)
		}
		groups[len(groups)-1] = append(groups[len(groups)-1], r)
	}
	const height = plotHead + 3*(panelHeight+panelGap) + plotFoot
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n",
		plotWidth, height*len(groups), plotWidth, height*len(groups))
	fmt.Fprintf(&b, "<title>flow simulate</title>\n<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n")
	for i, g := range groups {
		fmt.Fprintf(&b, "<g transform=\"translate(0 %d)\">\n", i*height)
		drawGroup(&b, g, o)
		b.WriteString("</g>\n")
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func drawGroup(b *strings.Builder, g []Result, o Options) {
	fmt.Fprintf(b, `<text x="%d" y="22" font-size="16" font-weight="bold">%s</text>`+"\n", plotLeft, escape(g[0].Trace))
	drawLegend(b, g)
	k := o.Limits.BurnThreshold.Seconds()
	p := panel{length: g[0].Length, y: plotHead}

	p.title = "records per second that arrive"
	if p.shade(b, g[0].Samples) {
		p.title += "; grey: attempts fail, or handlers are slow"
	}
	p.top = niceTop(most(g[:1], func(s Sample) float64 { return s.Rate }))
	p.frame(b)
	p.line(b, g[0].Samples, "#444444", "", func(s Sample) float64 { return s.Rate })

	p.y += panelHeight + panelGap
	p.title = "burn time in seconds"
	p.top = niceTop(math.Min(5*k, math.Max(1.5*k, most(g, func(s Sample) float64 { return s.Burn }))))
	p.frame(b)
	y := p.at(k)
	fmt.Fprintf(b, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#b00000" stroke-dasharray="4 4"/>`+"\n", plotLeft, plotWidth-plotRight, y, y)
	p.lines(b, g, func(s Sample) float64 { return s.Burn })
	fmt.Fprintf(b, `<text x="%d" y="%.1f" fill="#b00000" stroke="white" stroke-width="4" paint-order="stroke">threshold %s</text>`+"\n", plotLeft+4, y-5, axis(k))

	p.y += panelHeight + panelGap
	p.title = "replicas"
	p.top = niceTop(most(g, func(s Sample) float64 { return s.Replicas }))
	p.frame(b)
	p.lines(b, g, func(s Sample) float64 { return s.Replicas })
	p.hours(b)
}

func drawLegend(b *strings.Builder, g []Result) {
	for i, r := range g {
		x, y, s := plotLeft+i%2*440, 42+i/2*18, strokes[i%len(strokes)]
		fmt.Fprintf(b, `<line x1="%d" x2="%d" y1="%d" y2="%d" stroke="%s" stroke-width="2" stroke-dasharray="%s"/>`, x, x+32, y-4, y-4, s.colour, s.dash)
		fmt.Fprintf(b, `<text x="%d" y="%d">%s: %s s over, %s replica-seconds, %d resizes</text>`+"\n",
			x+40, y, escape(r.Policy), thousands(r.Over.Seconds()), thousands(r.ReplicaSeconds), r.Resizes)
	}
}

// A panel is one diagram: values from 0 to top over the length of a trace.
type panel struct {
	title  string
	y      float64 // of its upper edge
	top    float64
	length time.Duration
}

// at is where a value stands; what is above the top stands at it.
func (p panel) at(v float64) float64 {
	return p.y + panelHeight*(1-math.Max(0, math.Min(1, v/p.top)))
}

func (p panel) x(at time.Duration) float64 {
	return plotLeft + (plotWidth-plotLeft-plotRight)*float64(at)/float64(p.length)
}

// frame draws title, axis and grid.
func (p panel) frame(b *strings.Builder) {
	fmt.Fprintf(b, `<text x="%d" y="%.1f" font-weight="bold">%s</text>`+"\n", plotLeft, p.y-6, p.title)
	const marks = 4
	for i := range marks + 1 {
		v := p.top * float64(i) / marks
		colour := "#dddddd"
		if i == 0 {
			colour = "#444444"
		}
		fmt.Fprintf(b, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="%s"/>`, plotLeft, plotWidth-plotRight, p.at(v), p.at(v), colour)
		fmt.Fprintf(b, `<text x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n", plotLeft-6, p.at(v)+4, axis(v))
	}
	for at := time.Duration(0); at <= p.length; at += p.mark() {
		fmt.Fprintf(b, `<line x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f" stroke="#eeeeee"/>`+"\n", p.x(at), p.x(at), p.y, p.y+panelHeight)
	}
}

// shade marks the times at which replicas handle less than they can otherwise, and
// says whether there are any.
func (p panel) shade(b *strings.Builder, samples []Sample) bool {
	any := false
	for i := 0; i < len(samples); i++ {
		begin := samples[i].At
		for i < len(samples) && samples[i].Impaired {
			i++
		}
		end := p.length
		if i < len(samples) {
			end = samples[i].At
		}
		if end > begin {
			any = true
			fmt.Fprintf(b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%d" fill="#e4e4e4"/>`+"\n", p.x(begin), p.y, p.x(end)-p.x(begin), panelHeight)
		}
	}
	return any
}

// hours writes times below the last panel.
func (p panel) hours(b *strings.Builder) {
	for at := time.Duration(0); at <= p.length; at += p.mark() {
		fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="middle">%s</text>`+"\n", p.x(at), p.y+panelHeight+16, clock(at))
	}
	fmt.Fprintf(b, `<text x="%d" y="%.1f" text-anchor="end">time (h:mm:ss)</text>`+"\n", plotWidth-plotRight, p.y+panelHeight+34)
}

// mark is the time between two marks: round, and no more than twelve of them.
func (p panel) mark() time.Duration {
	for _, d := range []time.Duration{
		time.Second, 5 * time.Second, 15 * time.Second, time.Minute, 5 * time.Minute, 10 * time.Minute, 30 * time.Minute,
		time.Hour, 2 * time.Hour, 6 * time.Hour, 24 * time.Hour,
	} {
		if p.length <= 12*d {
			return d
		}
	}
	return 72 * time.Hour
}

func (p panel) lines(b *strings.Builder, g []Result, value func(Sample) float64) {
	// Flow's is drawn last, over the others.
	for i := len(g) - 1; i >= 0; i-- {
		s := strokes[i%len(strokes)]
		p.line(b, g[i].Samples, s.colour, s.dash, value)
	}
}

// line draws steps: a value holds until the next.
func (p panel) line(b *strings.Builder, samples []Sample, colour, dash string, value func(Sample) float64) {
	fmt.Fprintf(b, `<path fill="none" stroke="%s" stroke-width="1.5" stroke-dasharray="%s" d="`, colour, dash)
	last := ""
	for i, s := range samples {
		y := fmt.Sprintf("%.1f", p.at(value(s)))
		switch {
		case i == 0:
			fmt.Fprintf(b, "M%.1f %s", p.x(s.At), y)
		case y != last || i == len(samples)-1:
			fmt.Fprintf(b, "H%.1fV%s", p.x(s.At), y)
		}
		last = y
	}
	b.WriteString("\"/>\n")
}

func most(g []Result, value func(Sample) float64) float64 {
	top := 0.0
	for _, r := range g {
		for _, s := range r.Samples {
			top = math.Max(top, value(s))
		}
	}
	return top
}

// niceTop is a round number at or above v that four marks divide well.
func niceTop(v float64) float64 {
	if !(v > 0) {
		return 4
	}
	unit := math.Pow(10, math.Floor(math.Log10(v)))
	for _, f := range []float64{1, 1.2, 1.6, 2, 2.4, 3, 4, 6, 8} {
		if f*unit >= v*(1-1e-9) {
			return f * unit
		}
	}
	return 10 * unit
}

// axis writes a value short.
func axis(v float64) string {
	for _, u := range []struct {
		size float64
		name string
	}{{1e9, "G"}, {1e6, "M"}, {1e4, "k"}} {
		if v >= u.size {
			size := u.size
			if u.name == "k" {
				size = 1e3
			}
			return fmt.Sprintf("%.4g%s", v/size, u.name)
		}
	}
	return fmt.Sprintf("%.4g", v)
}

func clock(at time.Duration) string {
	s := int(at.Seconds())
	return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
}

func escape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;").Replace(s)
}
