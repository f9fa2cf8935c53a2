//! Curves as SVG: no script, nothing that has to be loaded.

use std::fmt::Write as _;

/// Of the whole drawing, and of what is left of the curves and below them, in pixels.
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 80.0;
/// Room for half of the last label below.
const RIGHT: f64 = 32.0;
const BELOW: f64 = 28.0;
const ABOVE: f64 = 12.0;

/// Lines of the grid.
const STEPS: u32 = 4;

const COLOURS: [&str; 6] = ["#1b6ca8", "#c8553d", "#3c8d5a", "#8a5fb0", "#b8860b", "#555555"];

/// One curve.
#[derive(Clone, Debug)]
pub(crate) struct Curve {
    pub(crate) name: String,
    /// From left to right.
    pub(crate) points: Vec<(f64, f64)>,
}

/// How numbers are written along an axis.
pub(crate) type Label = fn(f64) -> String;

/// Curves over one pair of axes, both from 0 unless `across` says otherwise, and which colour is whose.
pub(crate) fn chart(curves: &[Curve], across: Label, up: Label) -> String {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let right = points().map(|point| point.0).fold(0.0, f64::max);
    let top = points().map(|point| point.1).fold(0.0, f64::max);
    if right <= 0.0 || top <= 0.0 {
        return "<p>Nothing was measured.</p>".to_owned();
    }
    let (inner_width, inner_height) = (WIDTH - LEFT - RIGHT, HEIGHT - BELOW - ABOVE);
    let x = |value: f64| LEFT + value / right * inner_width;
    let y = |value: f64| ABOVE + (1.0 - value / top) * inner_height;
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">");
    for step in 0..=STEPS {
        let share = f64::from(step) / f64::from(STEPS);
        let (at, along) = (y(top * share), x(right * share));
        // Writing to a string cannot fail, here and below.
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text class=\"up\" x=\"{:.1}\" y=\"{:.1}\">{}</text><text class=\"across\" x=\"{along:.1}\" y=\"{:.1}\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            at + 4.0,
            up(top * share),
            HEIGHT - 8.0,
            across(right * share),
        );
    }
    for (curve, colour) in curves.iter().zip(COLOURS.iter().cycle()) {
        let path: Vec<String> =
            curve.points.iter().map(|(at, value)| format!("{:.1},{:.1}", x(*at), y(*value))).collect();
        let _ = write!(
            svg,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.8\" points=\"{}\"/>",
            path.join(" ")
        );
    }
    svg += "</svg>";
    svg + &legend(curves)
}

fn legend(curves: &[Curve]) -> String {
    let entries = curves
        .iter()
        .zip(COLOURS.iter().cycle())
        .map(|(curve, colour)| format!("<span><i style=\"background:{colour}\"></i>{}</span>", escape(&curve.name)));
    format!("<p class=\"legend\">{}</p>", entries.collect::<String>())
}

/// For text in HTML.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_lie_within_the_drawing() {
        let curves = [Curve { name: "a<b".to_owned(), points: vec![(0.0, 0.0), (5.0, 10.0), (10.0, 2.0)] }];
        let svg = chart(&curves, |value| value.to_string(), |value| value.to_string());
        assert!(svg.contains("points=\"80.0,212.0 404.0,12.0 728.0,172.0\""), "{svg}");
        assert!(svg.contains("a&lt;b") && !svg.contains("a<b"));
    }

    #[test]
    fn nothing_is_said_to_be_nothing() {
        assert_eq!(chart(&[], |_| String::new(), |_| String::new()), "<p>Nothing was measured.</p>");
    }
}
