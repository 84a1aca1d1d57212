//! What is drawn: the sweep over connections, contention, and a minute of throughput.

use crate::{
    commands::Lines,
    rates::Rate,
    skew::Curve,
    svg::{Axis, Chart, Series, page},
};

const ANNALS: &str = "#0f766e";
const NATIVE: &str = "#d97706";
const ECHO: &str = "#94a3b8";

/// What the run has measured of it; what is empty is said to be missing.
#[derive(Default)]
pub(crate) struct Picture {
    pub(crate) sweep: Lines,
    pub(crate) skew: Curve,
    /// Answers in each second.
    pub(crate) minute: Vec<u64>,
}

impl Picture {
    /// The picture as SVG, with what it was measured on in small print.
    pub(crate) fn svg(&self, machine: &str) -> String {
        let small_print: Vec<String> = machine.lines().take(3).map(str::to_owned).collect();
        let charts = [
            self.throughput(),
            self.latency(),
            self.contention(),
            self.seconds(),
        ];
        page("annals: durable commands over HTTP", &small_print, &charts)
    }

    fn servers(&self) -> [(&'static str, &'static str, &[Rate]); 3] {
        [
            ("annals", ANNALS, &self.sweep.annals),
            ("day's work", NATIVE, &self.sweep.native),
            ("echo", ECHO, &self.sweep.echo),
        ]
    }

    fn connections(&self) -> Axis {
        let ticks: Vec<f64> = self
            .sweep
            .annals
            .iter()
            .map(|rate| rate.connections as f64)
            .collect();
        Axis::log_at("connections, one request under way on each", &ticks)
    }

    fn throughput(&self) -> Chart {
        let series: Vec<Series> = self
            .servers()
            .into_iter()
            .map(|(name, color, rates)| Series {
                name: name.to_owned(),
                color,
                dashed: false,
                marked: true,
                points: over_connections(rates, Rate::per_second),
            })
            .collect();
        Chart {
            title: "Throughput over connections",
            x: self.connections(),
            y: Axis::linear("answers per second", highest(&series)),
            series,
        }
    }

    fn latency(&self) -> Chart {
        let mut series = Vec::new();
        for (name, color, rates) in self.servers() {
            series.push(Series {
                name: name.to_owned(),
                color,
                dashed: false,
                marked: true,
                points: over_connections(rates, |rate| rate.latency.p50_us / 1e3),
            });
            series.push(Series {
                name: String::new(),
                color,
                dashed: true,
                marked: false,
                points: over_connections(rates, |rate| rate.latency.p99_us / 1e3),
            });
        }
        let lowest = series.iter().flat_map(|series| &series.points).map(|(_, y)| *y);
        let lowest = lowest.reduce(f64::min).unwrap_or(1.0);
        Chart {
            title: "Latency over connections: median, and p99 dashed",
            x: self.connections(),
            y: Axis::log("milliseconds", lowest, highest(&series)),
            series,
        }
    }

    fn contention(&self) -> Chart {
        let series = vec![Series {
            name: "annals, 64 connections, 100,000 aggregates".to_owned(),
            color: ANNALS,
            dashed: false,
            marked: true,
            points: self.skew.clone(),
        }];
        Chart {
            title: "Throughput over contention",
            x: Axis::linear_at("skew of Zipf's law (0 is uniform)", &[0.0, 0.5, 1.0, 1.5]),
            y: Axis::linear("answers per second", highest(&series)),
            series,
        }
    }

    fn seconds(&self) -> Chart {
        let points = self
            .minute
            .iter()
            .zip(1_u32..)
            .map(|(count, second)| (f64::from(second), *count as f64));
        let series = vec![Series {
            name: "annals, 64 connections".to_owned(),
            color: ANNALS,
            dashed: false,
            marked: false,
            points: points.collect(),
        }];
        Chart {
            title: "Throughput second by second",
            x: Axis::linear("seconds", (self.minute.len() as f64).max(1.0)),
            y: Axis::linear("answers in the second", highest(&series)),
            series,
        }
    }
}

fn over_connections(rates: &[Rate], pick: impl Fn(&Rate) -> f64) -> Vec<(f64, f64)> {
    let points = rates.iter().map(|rate| (rate.connections as f64, pick(rate)));
    points.collect()
}

fn highest(series: &[Series]) -> f64 {
    let values = series.iter().flat_map(|series| &series.points).map(|(_, y)| *y);
    values.reduce(f64::max).unwrap_or(1.0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{load::Seen, rates::Runs};

    fn rate(connections: usize, answers: usize) -> Rate {
        let mut runs = Runs::new("line", connections);
        let seen = Seen {
            latencies: vec![1_000_000; answers],
            time: Duration::from_secs(1),
            ..Seen::default()
        };
        runs.add(seen, Vec::new(), Default::default(), Duration::ZERO);
        runs.finish()
    }

    #[test]
    fn what_was_measured_is_drawn_and_the_rest_is_said_to_be_missing() {
        let lines = || vec![rate(1, 10), rate(64, 50)];
        let mut picture = Picture {
            sweep: Lines {
                echo: lines(),
                native: lines(),
                annals: lines(),
                ..Lines::default()
            },
            ..Picture::default()
        };
        let svg = picture.svg("annals 1\na processor");
        assert_eq!(svg.matches("not measured").count(), 2, "{svg}");
        // Three lines of throughput and six of latency, of which three have a legend.
        assert_eq!(svg.matches("<polyline").count(), 2 * 3 + 6 + 3);
        assert!(svg.contains("a processor"));
        picture.skew = vec![(0.0, 10.0), (1.5, 7.0)];
        picture.minute = vec![3, 4, 5];
        assert!(!picture.svg("").contains("not measured"));
    }
}
