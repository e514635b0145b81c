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
    }
}
