//! What a trainer reports while it trains: lines `name,step,value` in `/out/metrics.csv`, after a header line.

use std::collections::BTreeMap;

/// The file in `/out`.
pub const FILE: &str = "metrics.csv";

/// The most points that are kept; a trainer that floods its file is shown in part.
const MOST_POINTS: usize = 100_000;

/// One value of one metric.
#[derive(Clone, PartialEq, Debug)]
pub struct Point {
    /// The metric.
    pub name: String,
    /// The step in which it was reported.
    pub step: u64,
    /// Its value.
    pub value: f64,
}

/// The points in a metrics file. Lines that make no sense are left out: the file comes from a stranger's program.
pub fn parse(file: &[u8]) -> Vec<Point> {
    let mut reader = csv::ReaderBuilder::new().has_headers(true).flexible(true).from_reader(file);
    let mut points = Vec::new();
    for record in reader.byte_records().flatten() {
        let text = |index: usize| std::str::from_utf8(record.get(index)?).ok();
        let point = || {
            let name = text(0)?;
            let good = (1..=64).contains(&name.len()) && !name.chars().any(char::is_control);
            let step = text(1)?.parse().ok()?;
            Some(Point { name: good.then(|| name.to_owned())?, step, value: text(2)?.parse().ok()? })
        };
        points.extend(point());
        if points.len() >= MOST_POINTS {
            break;
        }
    }
    points
}

/// The values of each metric, in their order.
pub fn series(points: &[Point]) -> BTreeMap<&str, Vec<f64>> {
    let mut series: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for point in points {
        series.entry(point.name.as_str()).or_default().push(point.value);
    }
    series
}

/// A curve of at most so many characters, from the lowest value to the highest. Neighbours are put together as their mean;
/// what is not finite is left out.
pub fn sparkline(values: &[f64], width: usize) -> String {
    let values: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    let width = width.min(values.len());
    let means = (0..width).map(|column| {
        let part = &values[column * values.len() / width..(column + 1) * values.len() / width];
        part.iter().sum::<f64>() / part.len() as f64
    });
    let means: Vec<f64> = means.collect();
    let (low, high) = means.iter().fold((f64::MAX, f64::MIN), |(low, high), &mean| (low.min(mean), high.max(mean)));
    // Halves, because the range of finite numbers need not be finite.
    let level = |mean: f64| if high > low { (mean / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0) * 7.0 } else { 0.0 };
    means.into_iter().map(|mean| ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'][level(mean).round() as usize]).collect()
}

/// The last value of each metric.
pub fn last(points: &[Point]) -> BTreeMap<String, f64> {
    points.iter().map(|point| (point.name.clone(), point.value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_left_out() {
        let points = parse(b"name,step,value\nloss,1,0.5\nloss,x,1\n\xff,1,1\n,1,1\nloss,2\nloss,3,0.25\nhalf,4,0.");
        assert_eq!(points.len(), 3);
        assert_eq!(last(&points).get("loss"), Some(&0.25));
        assert_eq!(series(&points)["loss"], [0.5, 0.25]);
    }

    #[test]
    fn curves_fit_their_width() {
        assert_eq!(sparkline(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], 20), "▁▂▃▄▅▆▇█");
        assert_eq!(sparkline(&[9.0, 7.0, 1.0, 1.0, f64::NAN, 0.0, 0.0], 3), "█▂▁");
        assert_eq!(sparkline(&[2.0; 5], 4), "▁▁▁▁");
        assert_eq!(sparkline(&[f64::MIN, f64::MAX], 4), "▁█");
        assert_eq!(sparkline(&[f64::INFINITY], 4), "");
        assert_eq!(sparkline(&[1.0, 2.0], 0), "");
    }
}
