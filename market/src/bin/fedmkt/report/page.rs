//! The page: HTML with everything in it, and nothing that runs.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Write};

use fedmkt_core::image::Status;
use fedmkt_core::inputs::{MODEL_PATH, TRAINER_PATH};
use fedmkt_core::manifest::{Disclosure, Manifest};
use fedmkt_core::receipt::Body;
use fedmkt_market::receipt::utc;
use fedmkt_runtime::message::printable_lines;

use super::chart::{LARGEST, chart, number};
use super::{Outcome, Story};
use crate::bytes::Bytes;
use crate::node_json::hex;

const STYLE: &str = include_str!("page.css");

/// The most curves that are drawn; a trainer may report under any number of names.
const MOST_CURVES: usize = 24;

/// The most items of a list of a stranger that are shown, and the most characters of each.
const MOST_ITEMS: usize = 60;
const MOST_CHARACTERS: usize = 200;

/// A text as it may stand in HTML, between tags or in quotes.
pub struct Escaped<'a>(pub &'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in printable_lines(self.0).chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// HTML that is being written. What goes in is HTML already: texts of others go through [`Escaped`].
struct Page(String);

impl Page {
    fn put(&mut self, html: impl Display) {
        write!(self.0, "{html}").expect("a string takes everything");
    }

    /// A row of a table of facts.
    fn fact(&mut self, name: &str, html: impl Display) {
        self.put(format_args!("<tr><th scope=\"row\">{name}</th><td>{html}</td></tr>\n"));
    }

    fn code_fact(&mut self, name: &str, text: impl Display) {
        self.fact(name, format_args!("<code>{text}</code>"));
    }

    fn section(&mut self, title: &str, write: impl FnOnce(&mut Self)) {
        self.put(format_args!("<section>\n<h2>{title}</h2>\n"));
        write(self);
        self.put("</section>\n");
    }

    fn facts(&mut self, write: impl FnOnce(&mut Self)) {
        self.put("<table class=\"facts\">\n");
        write(self);
        self.put("</table>\n");
    }
}

/// The whole page.
pub fn page(story: &Story) -> String {
    let name = story.job.as_ref().map_or("A job that is not in this store", |(manifest, _)| &manifest.name);
    let mut page = Page(String::new());
    page.put(format_args!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}: receipt</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n",
        Escaped(name)
    ));
    heading(&mut page, story, name);
    tiles(&mut page, story);
    warnings(&mut page, story);
    page.section("Curves", |page| curves(page, story));
    page.section("What ran, and on what", |page| page.facts(|page| what_ran(page, story)));
    if let Some((manifest, _)) = &story.job {
        page.section("What the client agreed to", |page| page.facts(|page| consent(page, manifest)));
    }
    page.section("What left the machine", |page| results(page, story));
    page.section("Checks", |page| checks(page, story));
    page.section("Commitments", |page| page.facts(|page| commitments(page, story)));
    page.section("Segments", |page| segments(page, &story.receipt.body));
    page.put("</main>\n</body>\n</html>\n");
    page.0
}

fn heading(page: &mut Page, story: &Story, name: &str) {
    let outcome = story.receipt.body.outcome;
    let class = if outcome == Status::Done { "good" } else { "bad" };
    page.put(format_args!(
        "<header>\n<h1>{}</h1>\n<p><span class=\"badge {class}\">{outcome}</span></p>\n",
        Escaped(name)
    ));
    if let Some((manifest, _)) = &story.job
        && !manifest.description.is_empty()
    {
        page.put(format_args!("<p class=\"text\">{}</p>\n", Escaped(manifest.description.trim())));
    }
    page.put(format_args!("<p class=\"quiet\">Receipt <code>{}</code></p>\n</header>\n", story.receipt.cid));
}

fn tiles(page: &mut Page, story: &Story) {
    page.put("<dl class=\"tiles\">\n");
    let mut tile = |name: &dyn Display, value: &dyn Display, more: &dyn Display| {
        page.put(format_args!("<div><dt>{name}</dt><dd>{value}<small>{more}</small></dd></div>\n"));
    };
    for (name, points) in by_name(story).into_iter().take(3) {
        let (step, value) = points[points.len() - 1];
        tile(&Escaped(name), &number(value), &format_args!("step {step}"));
    }
    let body = &story.receipt.body;
    tile(&"Steps", &body.trace.steps, &plural(body.trace.segments.len(), "segment"));
    if let Some(envelope) = &story.receipt.envelope {
        tile(&"Took", &duration(envelope.seconds), &format_args!("until {}", utc(envelope.finished)));
    }
    let bytes = body.results.iter().fold(0u64, |sum, result| sum.saturating_add(result.size));
    tile(&"Left the machine", &Bytes(bytes), &plural(body.results.len(), "file"));
    page.put("</dl>\n");
}

fn plural(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// What must not be overlooked.
fn warnings(page: &mut Page, story: &Story) {
    for check in story.checks.iter().filter(|check| check.outcome == Outcome::Wrong) {
        page.put(format_args!("<p class=\"warning\"><b class=\"bad\">Not so:</b> {}.</p>\n", Escaped(&check.what)));
    }
    if story.receipt.envelope.is_none() {
        page.put("<p class=\"warning\">This is the body of a receipt, which nobody has signed.</p>\n");
    }
}

/// The values of each metric that can be drawn, by its name.
fn by_name(story: &Story) -> BTreeMap<&str, Vec<(u64, f64)>> {
    let mut metrics = BTreeMap::<&str, Vec<_>>::new();
    for point in story.points.iter().filter(|point| point.value.abs() <= LARGEST) {
        metrics.entry(&point.name).or_default().push((point.step, point.value));
    }
    metrics
}

fn curves(page: &mut Page, story: &Story) {
    let mut metrics = by_name(story);
    if metrics.is_empty() {
        page.put("<p class=\"quiet\">The run left no metrics in this store.</p>\n");
        return;
    }
    page.put("<div class=\"curves\">\n");
    for (name, points) in metrics.iter_mut().take(MOST_CURVES) {
        points.sort_by_key(|(step, _)| *step);
        let (step, last) = points[points.len() - 1];
        page.put(format_args!(
            "<figure><figcaption>{}<span>{} in step {step}</span></figcaption>{}</figure>\n",
            Escaped(name),
            number(last),
            chart(name, points)
        ));
    }
    page.put("</div>\n");
    if metrics.len() > MOST_CURVES {
        page.put(format_args!("<p class=\"quiet\">And {} more metrics.</p>\n", metrics.len() - MOST_CURVES));
    }
}

fn what_ran(page: &mut Page, story: &Story) {
    let body = &story.receipt.body;
    page.code_fact("Job", body.job);
    if let Some((manifest, files)) = &story.job {
        let bytes = |below: &str| {
            let of = |path: &str| path == below || path.strip_prefix(below).is_some_and(|rest| rest.starts_with('/'));
            Bytes(files.iter().filter(|(path, _)| of(path)).map(|(_, bytes)| bytes).sum())
        };
        page.fact("Trainer", format_args!("<code>{}</code>, {}", manifest.trainer, bytes(TRAINER_PATH)));
        page.fact("Initial model", format_args!("<code>{}</code>, {}", manifest.model, bytes(MODEL_PATH)));
        if !manifest.arguments.is_empty() {
            page.fact("Arguments", format_args!("<code>{}</code>", list(&manifest.arguments)));
        }
    }
    page.code_fact("Data root", body.data_root);
    page.fact("Profile", Escaped(&body.profile));
    if let Some(envelope) = &story.receipt.envelope {
        page.fact("Engine", Escaped(&envelope.engine));
        page.code_fact("Client", hex(&envelope.client));
        let (finished, took) = (utc(envelope.finished), duration(envelope.seconds));
        page.fact("Finished", format_args!("{finished}, after {took} (by the client's clock)"));
    }
}

fn consent(page: &mut Page, manifest: &Manifest) {
    let data = &manifest.data;
    let (rows, most) = (data.least_rows, Bytes(data.most_bytes));
    page.fact(
        "Reads",
        format_args!(
            "the grant <code>{}</code>: {}, at least {rows} rows, at most {most}",
            Escaped(&data.name),
            Escaped(&data.format)
        ),
    );
    if let Some(columns) = &data.columns {
        page.fact("Columns", list(columns));
    }
    if let Some(shape) = &data.shape {
        page.fact("Shape", format_args!("{shape:?}"));
    }
    page.fact("May leave", format_args!("at most {} in all", Bytes(manifest.most_result_bytes())));
    page.fact(
        "Who reads it",
        match &manifest.sponsor {
            Some(sponsor) => format!("the sponsor, <code>{}</code>", Escaped(sponsor)),
            None => "anyone".into(),
        },
    );
    page.fact(
        "Data shown to",
        match &manifest.disclosure {
            Disclosure::Open => "anyone who wants to verify".into(),
            Disclosure::Private => "nobody: the work cannot be checked by others".into(),
            Disclosure::Audited(audit) => format!(
                "auditors, for {} % of submissions: <code>{}</code>",
                audit.per_million as f64 / 10_000.0,
                list(&audit.auditors)
            ),
        },
    );
    let limits = &manifest.limits;
    page.fact(
        "Limits",
        format_args!(
            "{} of memory, {} of output, {} of scratch, {} open files, {} steps, {} s for a step",
            Bytes(limits.memory),
            Bytes(limits.output),
            Bytes(limits.scratch),
            limits.open_files,
            limits.steps,
            limits.step_seconds
        ),
    );
    if let Some(reward) = &manifest.reward {
        page.fact(
            "Reward",
            format_args!(
                "{} of the smallest unit of token <code>{}</code>, by market <code>{}</code> on chain {}",
                Escaped(&reward.amount),
                Escaped(&reward.token),
                Escaped(&reward.market),
                reward.chain_id
            ),
        );
    }
}

/// Texts of strangers, with commas; not more than anybody would read.
fn list(items: &[String]) -> String {
    let mut shown: Vec<_> = items.iter().take(MOST_ITEMS).map(|item| clipped(item)).collect();
    if items.len() > MOST_ITEMS {
        shown.push(format!("and {} more", items.len() - MOST_ITEMS));
    }
    shown.join(", ")
}

fn clipped(text: &str) -> String {
    match text.char_indices().nth(MOST_CHARACTERS) {
        Some((end, _)) => format!("{}…", Escaped(&text[..end])),
        None => Escaped(text).to_string(),
    }
}

fn results(page: &mut Page, story: &Story) {
    let results = &story.receipt.body.results;
    if results.is_empty() {
        page.put("<p>Nothing: a run leaves results only when it is done.</p>\n");
        return;
    }
    page.put(
        "<div class=\"wide\"><table class=\"results\">\n<thead><tr><th>File</th><th class=\"number\">Size</th><th class=\"number\">Limit</th>\
         <th>CID and root</th></tr></thead>\n<tbody>\n",
    );
    for (index, result) in results.iter().enumerate() {
        let limit = story.job.as_ref().and_then(|(manifest, _)| manifest.results.get(index));
        let limit = limit.map_or(String::new(), |file| Bytes(file.most_bytes).to_string());
        page.put(format_args!(
            "<tr><td>{}</td><td class=\"number\">{}</td><td class=\"number\">{limit}</td>\
             <td><code>{}</code><br><code>{}</code></td></tr>\n",
            clipped(&result.name),
            Bytes(result.size),
            result.cid,
            result.root
        ));
    }
    page.put("</tbody>\n</table></div>\n");
    page.put("<p class=\"quiet\">Weights can encode data: whoever has them may learn something about it.</p>\n");
}

fn checks(page: &mut Page, story: &Story) {
    page.put("<ul class=\"checks\">\n");
    for check in &story.checks {
        let (class, mark, said) = match check.outcome {
            Outcome::Right => ("good", '✓', "checked"),
            Outcome::Wrong => ("bad", '✗', "not so"),
            Outcome::Unknown => ("quiet", '–', "cannot be checked with what is in this store"),
        };
        let note = if check.outcome == Outcome::Unknown {
            format!(" <span class=\"quiet\">({said})</span>")
        } else {
            String::new()
        };
        page.put(format_args!(
            "<li><b class=\"{class}\" title=\"{said}\">{mark}</b><span>{}{note}</span></li>\n",
            Escaped(&check.what)
        ));
    }
    page.put(
        "</ul>\n<p class=\"quiet\">These checks do not show that the trainer was run as the receipt says. A replay of the \
         job on the same data does: it must give the same state roots.</p>\n",
    );
}

fn commitments(page: &mut Page, story: &Story) {
    let body = &story.receipt.body;
    page.code_fact("Receipt body", story.receipt.body_cid);
    page.code_fact("Run id", body.run_id);
    page.code_fact("Job root", body.job_root);
    page.code_fact("Data root", body.data_root);
    page.code_fact("Hash of the blind", body.blind_hash);
    page.code_fact("Trace root", body.trace.root);
}

fn segments(page: &mut Page, body: &Body) {
    let trace = &body.trace;
    page.put(format_args!(
        "<p>{} steps, {} in each segment but the last. A segment is what a dispute first asks about.</p>\n\
         <details><summary>State roots of {} segments</summary>\n<div class=\"wide\"><table>\n\
         <thead><tr><th class=\"number\">Segment</th><th class=\"number\">Until step</th><th>State root</th></tr></thead>\n<tbody>\n",
        trace.steps,
        trace.steps_per_segment,
        trace.segments.len()
    ));
    for (number, root) in (1u64..).zip(&trace.segments) {
        let end = number.saturating_mul(trace.steps_per_segment).min(trace.steps);
        page.put(format_args!(
            "<tr><td class=\"number\">{number}</td><td class=\"number\">{end}</td><td><code>{root}</code></td></tr>\n"
        ));
    }
    page.put("</tbody>\n</table></div>\n</details>\n");
}

fn duration(seconds: u64) -> String {
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0) => "less than 1 s".into(),
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}
