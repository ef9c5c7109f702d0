//! Plots, as SVG: a line for each series, both axes labelled at their ticks.

use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;

/// A point that a program printed: `{"plot":"flows","series":"hit","x":1024,"y":99.5}`.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Point {
    plot: String,
    series: String,
    x: f64,
    y: f64,
}

impl Point {
    /// `None`: it is a row, not a point.
    pub(crate) fn of(value: &Value) -> Option<Self> {
        Some(Self {
            plot: value["plot"].as_str()?.to_owned(),
            series: value["series"].as_str()?.to_owned(),
            x: value["x"].as_f64()?,
            y: value["y"].as_f64()?,
        })
    }
}

/// What a plot's axes are called, and whether the one below is logarithmic.
fn axes(plot: &str) -> (&'static str, &'static str, bool) {
    match plot {
        "flows" => ("flows", "cycles/packet (TSC)", true),
        "burst" => ("frames in a burst", "cycles/packet (TSC)", true),
        "workers" => ("workers", "Mpps", false),
        _ => ("", "", false),
    }
}

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 170.0;
const TOP: f64 = 20.0;
const BOTTOM: f64 = 50.0;
const COLOURS: [&str; 5] = ["#1b6ca8", "#c8553d", "#588b3b", "#7a4ea3", "#8a6d1f"];

/// Points by what their line is called.
type Series<'a> = BTreeMap<&'a str, Vec<(f64, f64)>>;

/// (name, picture) of every plot that has points.
pub(crate) fn all(points: &[Point]) -> Vec<(String, String)> {
    let mut plots: BTreeMap<&str, Series<'_>> = BTreeMap::new();
    for point in points {
        let series = plots.entry(&point.plot).or_default().entry(&point.series).or_default();
        series.push((point.x, point.y));
    }
    plots.into_iter().map(|(name, series)| (name.to_owned(), picture(name, &series))).collect()
}

fn picture(name: &str, series: &Series<'_>) -> String {
    let (x_name, y_name, logarithmic) = axes(name);
    let scale = |x: f64| if logarithmic { x.max(1.0).log2() } else { x };
    let all = || series.values().flatten();
    let (first, last) =
        all().fold((f64::MAX, f64::MIN), |(a, b), (x, _)| (a.min(scale(*x)), b.max(scale(*x))));
    let top = all().fold(0.0_f64, |top, (_, y)| top.max(*y)) * 1.1;
    let (span, top) = ((last - first).max(1e-9), top.max(1e-9));
    let place = |x: f64| LEFT + (scale(x) - first) / span * (WIDTH - LEFT - RIGHT);
    let height = |y: f64| HEIGHT - BOTTOM - y / top * (HEIGHT - TOP - BOTTOM);
    let (right, floor) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    let mut svg = String::new();
    let _ = write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <path d=\"M{LEFT} {TOP}V{floor}H{right}\" fill=\"none\" stroke=\"black\"/>\n"
    );
    for tick in 0..=4 {
        let y = top * f64::from(tick) / 4.0;
        let at = height(y);
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {at:.1}H{right}\" stroke=\"#dddddd\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{y:.0}</text>",
            LEFT - 6.0,
            at + 4.0
        );
    }
    let mut ticks: Vec<f64> = all().map(|(x, _)| *x).collect();
    ticks.sort_by(f64::total_cmp);
    ticks.dedup();
    for x in ticks {
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            place(x),
            floor + 18.0,
            short(x)
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{x_name}</text>\
         <text x=\"16\" y=\"{:.1}\" text-anchor=\"middle\" transform=\"rotate(-90 16 {:.1})\">{y_name}</text>",
        (LEFT + right) / 2.0,
        HEIGHT - 10.0,
        (TOP + floor) / 2.0,
        (TOP + floor) / 2.0
    );
    for (index, (label, points)) in series.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let mut points = points.clone();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let path: Vec<String> =
            points.iter().map(|(x, y)| format!("{:.1},{:.1}", place(*x), height(*y))).collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            path.join(" ")
        );
        for (x, y) in &points {
            let _ = writeln!(
                svg,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>",
                place(*x),
                height(*y)
            );
        }
        let line = TOP + 14.0 + 18.0 * index as f64;
        let _ =
            writeln!(svg, "<text x=\"{:.1}\" y=\"{line:.1}\" fill=\"{colour}\">{label}</text>", right + 10.0);
    }
    svg.push_str("</svg>\n");
    svg
}

/// 1M rather than 1048576.
fn short(x: f64) -> String {
    const KIBI: f64 = 1024.0;
    match x {
        x if x >= KIBI * KIBI => format!("{:.0}M", x / KIBI / KIBI),
        x if x >= KIBI => format!("{:.0}k", x / KIBI),
        x => format!("{x:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn points_are_drawn_in_order() {
        let point = |x: u32, y: f64| {
            Point::of(&json!({"plot": "flows", "series": "hit", "x": x, "y": y})).expect("it is a point")
        };
        let plots = all(&[point(1 << 20, 100.0), point(1 << 10, 50.0)]);
        assert_eq!((plots.len(), plots[0].0.as_str()), (1, "flows"));
        let svg = &plots[0].1;
        assert!(svg.contains("points=\"70.0,200.0 470.0,50.0\""), "{svg}");
        assert!(svg.contains(">1k<") && svg.contains(">1M<") && svg.contains(">cycles/packet (TSC)<"));
    }

    #[test]
    fn a_row_is_no_point() {
        assert_eq!(Point::of(&json!({"row": "P1", "ours": 1.0})), None);
    }
}
