//! Line charts as SVG, written by hand: axes, grid, lines, legend.

use std::fmt::Write;

/// How values are spread over an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scale {
    Linear,
    Log,
}

/// One axis with its ticks.
#[derive(Debug, Clone)]
pub(crate) struct Axis {
    label: &'static str,
    scale: Scale,
    from: f64,
    to: f64,
    ticks: Vec<f64>,
}

impl Axis {
    /// From 0 to a round number that is at least `max`.
    pub(crate) fn linear(label: &'static str, max: f64) -> Self {
        const TICKS: f64 = 5.0;
        let rough = max.max(f64::MIN_POSITIVE) / TICKS;
        let magnitude = 10_f64.powf(rough.log10().floor());
        let steps = [1.0, 2.0, 2.5, 5.0, 10.0].map(|step| step * magnitude);
        let step = steps
            .into_iter()
            .find(|step| *step >= rough * 0.999)
            .unwrap_or(rough);
        let count = (max / step - 1e-9).ceil().max(1.0);
        Self {
            label,
            scale: Scale::Linear,
            from: 0.0,
            to: step * count,
            ticks: (0..=count as u32).map(|tick| f64::from(tick) * step).collect(),
        }
    }

    /// From one value to another, with ticks at these.
    pub(crate) fn linear_at(label: &'static str, ticks: &[f64]) -> Self {
        Self {
            label,
            scale: Scale::Linear,
            from: ticks.first().copied().unwrap_or_default(),
            to: ticks.last().copied().unwrap_or(1.0),
            ticks: ticks.to_vec(),
        }
    }

    /// Logarithmic, with ticks at these.
    pub(crate) fn log_at(label: &'static str, ticks: &[f64]) -> Self {
        Self {
            scale: Scale::Log,
            ..Self::linear_at(label, ticks)
        }
    }

    /// Logarithmic, from the power of ten at or below `min` to the one at or above `max`.
    pub(crate) fn log(label: &'static str, min: f64, max: f64) -> Self {
        let low = min.max(1e-6).log10().floor() as i32;
        let high = (max.max(1e-6).log10().ceil() as i32).max(low + 1);
        let ticks: Vec<f64> = (low..=high).map(|power| 10_f64.powi(power)).collect();
        Self::log_at(label, &ticks)
    }

    /// Where a value lies: 0 at the beginning of the axis, 1 at its end.
    fn place(&self, value: f64) -> f64 {
        let at = match self.scale {
            Scale::Linear => (value - self.from) / (self.to - self.from),
            Scale::Log => (value.max(1e-9) / self.from).ln() / (self.to / self.from).ln(),
        };
        at.clamp(0.0, 1.0)
    }
}

/// One line of a chart.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    /// For the legend; empty when another line's stands for it.
    pub(crate) name: String,
    pub(crate) color: &'static str,
    pub(crate) dashed: bool,
    /// Whether each value is marked.
    pub(crate) marked: bool,
    pub(crate) points: Vec<(f64, f64)>,
}

/// A chart; without series it says that nothing was measured.
#[derive(Debug, Clone)]
pub(crate) struct Chart {
    pub(crate) title: &'static str,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) series: Vec<Series>,
}

const WIDTH: f64 = 620.0;
const HEIGHT: f64 = 400.0;
/// Around the area that lines are drawn in: left, top, right, bottom.
const MARGIN: [f64; 4] = [72.0, 70.0, 24.0, 56.0];
const GAP: f64 = 24.0;
const HEAD: f64 = 64.0;
const FOOT: f64 = 60.0;

/// A page with two charts in a row, a title above and lines of small print below.
pub(crate) fn page(title: &str, small_print: &[String], charts: &[Chart]) -> String {
    let rows = charts.len().div_ceil(2) as f64;
    let width = 2.0 * WIDTH + 3.0 * GAP;
    let height = HEAD + rows * (HEIGHT + GAP) + FOOT;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
         height=\"{height:.0}\" font-family=\"system-ui, 'DejaVu Sans', sans-serif\" font-size=\"13\" fill=\"#334155\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#f8fafc\"/>\n"
    );
    text(
        &mut svg,
        GAP,
        42.0,
        "font-size=\"24\" font-weight=\"600\" fill=\"#0f172a\"",
        title,
    );
    for (at, chart) in charts.iter().enumerate() {
        let x = GAP + (at % 2) as f64 * (WIDTH + GAP);
        let y = HEAD + (at / 2) as f64 * (HEIGHT + GAP);
        let _ = writeln!(svg, "<g transform=\"translate({x:.0} {y:.0})\">");
        chart.draw(&mut svg);
        svg.push_str("</g>\n");
    }
    for (line, print) in small_print.iter().enumerate() {
        let y = height - FOOT + 14.0 + 18.0 * line as f64;
        text(&mut svg, GAP, y, "font-size=\"12\" fill=\"#64748b\"", print);
    }
    svg.push_str("</svg>\n");
    svg
}

impl Chart {
    fn draw(&self, svg: &mut String) {
        let _ = writeln!(
            svg,
            "<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"8\" fill=\"#ffffff\" stroke=\"#e2e8f0\"/>"
        );
        text(
            svg,
            20.0,
            30.0,
            "font-size=\"16\" font-weight=\"600\" fill=\"#0f172a\"",
            self.title,
        );
        if self.series.iter().all(|series| series.points.is_empty()) {
            let style = "text-anchor=\"middle\" fill=\"#94a3b8\"";
            text(svg, WIDTH / 2.0, HEIGHT / 2.0, style, "not measured in this run");
            return;
        }
        self.legend(svg);
        self.axes(svg);
        for series in &self.series {
            self.line(svg, series);
        }
    }

    fn at(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let [left, top, right, bottom] = MARGIN;
        (
            left + self.x.place(x) * (WIDTH - left - right),
            HEIGHT - bottom - self.y.place(y) * (HEIGHT - top - bottom),
        )
    }

    fn axes(&self, svg: &mut String) {
        let [left, top, right, bottom] = MARGIN;
        for tick in &self.y.ticks {
            let (_, y) = self.at((self.x.from, *tick));
            rule(svg, [left, y, WIDTH - right, y]);
            text(svg, left - 8.0, y + 4.0, "text-anchor=\"end\"", &short(*tick));
        }
        for tick in &self.x.ticks {
            let (x, _) = self.at((*tick, self.y.from));
            rule(svg, [x, top, x, HEIGHT - bottom]);
            text(
                svg,
                x,
                HEIGHT - bottom + 18.0,
                "text-anchor=\"middle\"",
                &short(*tick),
            );
        }
        let label = "text-anchor=\"middle\" fill=\"#64748b\"";
        text(
            svg,
            f64::midpoint(left, WIDTH - right),
            HEIGHT - 14.0,
            label,
            self.x.label,
        );
        let middle = f64::midpoint(top, HEIGHT - bottom);
        let turned = format!("{label} transform=\"rotate(-90 18 {middle:.1})\"");
        text(svg, 18.0, middle, &turned, self.y.label);
    }

    fn legend(&self, svg: &mut String) {
        let mut x = 20.0;
        for series in self.series.iter().filter(|series| !series.name.is_empty()) {
            stroke(svg, series, &[(x, 48.0), (x + 22.0, 48.0)]);
            text(svg, x + 28.0, 52.0, "", &series.name);
            // About what a letter of this size takes.
            x += 28.0 + 7.2 * series.name.chars().count() as f64 + 18.0;
        }
    }

    fn line(&self, svg: &mut String, series: &Series) {
        let points: Vec<_> = series.points.iter().map(|point| self.at(*point)).collect();
        stroke(svg, series, &points);
        if series.marked {
            for (x, y) in points {
                let color = series.color;
                let _ = writeln!(
                    svg,
                    "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{color}\"/>"
                );
            }
        }
    }
}

fn stroke(svg: &mut String, series: &Series, points: &[(f64, f64)]) {
    let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let dashes = if series.dashed {
        " stroke-dasharray=\"5 4\""
    } else {
        ""
    };
    let _ = writeln!(
        svg,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\" stroke-linejoin=\"round\"{dashes}/>",
        points.join(" "),
        series.color
    );
}

fn rule(svg: &mut String, [x1, y1, x2, y2]: [f64; 4]) {
    let _ = writeln!(
        svg,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"#e2e8f0\"/>"
    );
}

fn text(svg: &mut String, x: f64, y: f64, style: &str, text: &str) {
    let escaped = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" {style}>{escaped}</text>");
}

/// A number as short as it can be read: `0.1`, `25`, `100k`, `1.5M`.
fn short(value: f64) -> String {
    let trimmed = |value: f64| {
        let text = format!("{value:.3}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match value.abs() {
        ..10_000.0 => trimmed(value),
        ..1e6 => format!("{}k", trimmed(value / 1e3)),
        _ => format!("{}M", trimmed(value / 1e6)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart() -> Chart {
        Chart {
            title: "A < B & C",
            x: Axis::log_at("connections", &[1.0, 32.0, 1_024.0]),
            y: Axis::linear("per second", 930.0),
            series: vec![Series {
                name: "line".to_owned(),
                color: "#000000",
                dashed: false,
                marked: true,
                points: vec![(1.0, 0.0), (1_024.0, 1_000.0)],
            }],
        }
    }

    #[test]
    fn linear_axes_end_at_round_numbers() {
        for (max, to, ticks) in [
            (930.0, 1_000.0, 6),
            (1.5, 1.5, 4),
            (101_000.0, 125_000.0, 6),
            (0.0, 0.0, 2),
        ] {
            let axis = Axis::linear("", max);
            if max > 0.0 {
                assert_eq!((axis.to, axis.ticks.len()), (to, ticks), "{max}: {axis:?}");
            }
            assert!(axis.to >= max && axis.ticks.len() >= 2, "{axis:?}");
            assert_eq!((axis.place(axis.from), axis.place(axis.to)), (0.0, 1.0));
        }
        assert_eq!(Axis::linear("", 1_000.0).place(250.0), 0.25);
    }

    #[test]
    fn logarithmic_axes_give_each_factor_the_same_room() {
        let axis = Axis::log_at("", &[1.0, 1_024.0]);
        assert!((axis.place(32.0) - 0.5).abs() < 1e-9, "{}", axis.place(32.0));
        let axis = Axis::log("", 0.3, 42.0);
        assert_eq!(axis.ticks, [0.1, 1.0, 10.0, 100.0]);
        assert_eq!((axis.place(0.01), axis.place(1e9)), (0.0, 1.0));
        assert_eq!(Axis::log("", 5.0, 5.0).ticks, [1.0, 10.0]);
    }

    #[test]
    fn lines_reach_from_corner_to_corner_of_their_area() {
        let chart = chart();
        assert_eq!(chart.at((1.0, 0.0)), (72.0, HEIGHT - 56.0));
        assert_eq!(chart.at((1_024.0, 1_000.0)), (WIDTH - 24.0, 70.0));
        let svg = page("title", &["machine".to_owned()], &[chart]);
        assert!(
            svg.contains("A &lt; B &amp; C") && svg.contains("<polyline points=\"72.0,344.0 596.0,70.0\""),
            "{svg}"
        );
        assert!(svg.trim_end().ends_with("</svg>") && svg.contains("machine"));
    }

    #[test]
    fn a_chart_without_values_says_so() {
        let empty = Chart {
            series: Vec::new(),
            ..chart()
        };
        let svg = page("title", &[], &[empty]);
        assert!(svg.contains("not measured in this run") && !svg.contains("polyline"));
    }

    #[test]
    fn numbers_are_short() {
        let short = [0.1, 25.0, 2_500.0, 100_000.0, 1_500_000.0].map(short);
        assert_eq!(short, ["0.1", "25", "2500", "100k", "1.5M"]);
    }
}
