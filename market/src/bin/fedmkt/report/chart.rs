//! Curves as SVG.

use std::fmt::Write;

use super::page::Escaped;

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 220.0;
/// Where the curve's area begins and ends.
const LEFT: f64 = 58.0;
const RIGHT: f64 = WIDTH - 20.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = HEIGHT - 30.0;

/// The most points of a curve: more could not be told apart.
const MOST_POINTS: usize = 800;

/// Values that are larger are not drawn: what is computed of them would not be finite.
pub const LARGEST: f64 = 1e300;

/// A curve of points in the order of their steps. No value may be larger than [`LARGEST`]; there must be one at least.
pub fn chart(name: &str, points: &[(u64, f64)]) -> String {
    let (first, last) = (points[0].0, points[points.len() - 1].0);
    let (low, high) =
        points.iter().fold((f64::MAX, f64::MIN), |(low, high), (_, value)| (low.min(*value), high.max(*value)));
    let vertical = Axis::new(low, high, 4);
    let horizontal = Axis { low: first as f64, high: (last.max(first + 1)) as f64, ticks: steps(first, last) };
    let x = |value: f64| horizontal.place(value, LEFT, RIGHT);
    let y = |value: f64| vertical.place(value, BOTTOM, TOP);

    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\"><title>{} over steps {first} to {last}: from {} to {}</title>",
        Escaped(name),
        number(points[0].1),
        number(points[points.len() - 1].1)
    );
    for &tick in &vertical.ticks {
        put(&mut svg, format_args!("<path class=\"grid\" d=\"M{LEFT} {0:.1}H{RIGHT}\"/>", y(tick)));
        put(
            &mut svg,
            format_args!("<text class=\"y\" x=\"{}\" y=\"{:.1}\">{}</text>", LEFT - 8.0, y(tick) + 4.0, number(tick)),
        );
    }
    for &tick in &horizontal.ticks {
        put(&mut svg, format_args!("<path class=\"grid\" d=\"M{:.1} {BOTTOM}v5\"/>", x(tick)));
        put(&mut svg, format_args!("<text class=\"x\" x=\"{:.1}\" y=\"{}\">{tick}</text>", x(tick), BOTTOM + 20.0));
    }
    let thin = thin(points);
    let mut path = String::new();
    for (index, (step, value)) in thin.iter().enumerate() {
        let command = if index == 0 { 'M' } else { 'L' };
        put(&mut path, format_args!("{command}{:.1} {:.1}", x(*step as f64), y(*value)));
    }
    put(&mut svg, format_args!("<path class=\"curve\" d=\"{path}\"/>"));
    let (step, value) = points[points.len() - 1];
    put(&mut svg, format_args!("<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\"/></svg>", x(step as f64), y(value)));
    svg
}

fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("a string takes everything");
}

/// A scale with marks at round numbers.
struct Axis {
    low: f64,
    high: f64,
    ticks: Vec<f64>,
}

impl Axis {
    /// An axis that holds all from `low` to `high`, with about so many ticks.
    fn new(low: f64, high: f64, about: u32) -> Self {
        // A constant is shown in the middle of something.
        let (low, high) = if high - low > 1e-9 * low.abs().max(high.abs()) {
            (low, high)
        } else {
            let around = if low == 0.0 { 1.0 } else { low.abs() / 2.0 };
            (low - around, high + around)
        };
        let rough = (high - low) / f64::from(about);
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        let (from, to) = ((low / step).floor(), (high / step).ceil());
        let count = (to - from).min(20.0) as u32;
        // Multiples, not sums: 0.1 + 0.2 would be shown as what it is.
        let ticks = (0..=count).map(|index| (from + f64::from(index)) * step).collect();
        Self { low: from * step, high: to * step, ticks }
    }

    fn place(&self, value: f64, from: f64, to: f64) -> f64 {
        let share = (value - self.low) / (self.high - self.low);
        if share.is_finite() { from + share.clamp(0.0, 1.0) * (to - from) } else { from }
    }
}

/// Round numbers of steps within a range, five at most.
fn steps(first: u64, last: u64) -> Vec<f64> {
    let mut step = 1u64;
    while (last - first) / step >= 5 {
        let grown = if step.to_string().starts_with('2') { step / 2 * 5 } else { step.saturating_mul(2) };
        if grown == step {
            break;
        }
        step = grown;
    }
    let from = first.div_ceil(step);
    (from..)
        .map_while(|index| index.checked_mul(step))
        .take_while(|tick| *tick <= last)
        .take(6)
        .map(|t| t as f64)
        .collect()
}

/// A number with four digits that mean something.
pub fn number(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-3..1e6).contains(&size) {
        let text = format!("{value:.2e}");
        return text.replace(".00e", "e");
    }
    let digits = if size >= 1.0 { 3 - (size.log10().floor() as i32).min(3) } else { 4 };
    let text = format!("{value:.*}", digits as usize);
    if !text.contains('.') {
        return text;
    }
    let short = text.trim_end_matches('0').trim_end_matches('.');
    if short == "-0" { "0".into() } else { short.into() }
}

/// At most [`MOST_POINTS`] points: of each stretch of a longer curve the lowest and the highest, so that no peak is lost.
fn thin(points: &[(u64, f64)]) -> Vec<(u64, f64)> {
    if points.len() <= MOST_POINTS {
        return points.to_vec();
    }
    let stretch = points.len().div_ceil(MOST_POINTS / 2);
    let both = |stretch: &[(u64, f64)]| {
        let low = stretch.iter().copied().min_by(|one, other| one.1.total_cmp(&other.1)).expect("a point");
        let high = stretch.iter().copied().max_by(|one, other| one.1.total_cmp(&other.1)).expect("a point");
        if low.0 <= high.0 { [low, high] } else { [high, low] }
    };
    points.chunks(stretch).flat_map(both).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let shown = [
            (0.0, "0"),
            (-0.0, "0"),
            (1.0, "1"),
            (0.25, "0.25"),
            (0.98765, "0.9877"),
            (12.3456, "12.35"),
            (123_456.7, "123457"),
            (1e-5, "1e-5"),
            (-2.5e9, "-2.50e9"),
        ];
        shown.iter().for_each(|(value, text)| assert_eq!(number(*value), *text));
    }

    #[test]
    fn ticks_are_round_and_hold_the_curve() {
        let axis = Axis::new(0.013, 0.694, 4);
        assert_eq!(axis.ticks.iter().map(|tick| number(*tick)).collect::<Vec<_>>(), ["0", "0.2", "0.4", "0.6", "0.8"]);
        assert_eq!(steps(1, 300), [100.0, 200.0, 300.0]);
        assert_eq!(steps(0, 4), [0.0, 1.0, 2.0, 3.0, 4.0]);
        assert!(steps(0, u64::MAX).len() <= 6);
        assert_eq!(steps(7, 7), [7.0]);
    }

    #[test]
    fn every_curve_stays_inside_its_chart() {
        let long: Vec<(u64, f64)> = (0..100_000).map(|step| (step, if step == 77_777 { 9.0 } else { 1.0 })).collect();
        let curves = [
            vec![(0, 0.0)],
            vec![(5, 1.0), (9, 1.0)],
            vec![(0, -LARGEST), (1, LARGEST)],
            vec![(0, f64::MIN_POSITIVE), (u64::MAX, 0.0)],
            vec![(0, -1e300), (1, -1e300)],
            long,
        ];
        for curve in curves {
            let svg = chart("loss", &curve);
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            let path = svg.split_once("class=\"curve\" d=\"").expect("a curve").1.split_once('"').expect("an end").0;
            for point in path.split(['M', 'L']).filter(|point| !point.is_empty()) {
                let (x, y) = point.split_once(' ').expect("two numbers");
                let (x, y): (f64, f64) = (x.parse().expect("a number"), y.parse().expect("a number"));
                assert!((LEFT..=RIGHT).contains(&x) && (TOP..=BOTTOM).contains(&y), "{point}");
            }
        }
    }

    #[test]
    fn a_peak_of_a_long_curve_is_kept() {
        let curve: Vec<(u64, f64)> = (0..50_000).map(|step| (step, if step == 31_415 { 9.0 } else { 1.0 })).collect();
        let thin = thin(&curve);
        assert!(thin.len() <= MOST_POINTS);
        assert!(thin.contains(&(31_415, 9.0)));
        assert!(thin.is_sorted_by_key(|(step, _)| *step));
    }
}
