//! `fedmkt report`.

use std::fs;

use cid::Cid;
use ed25519_dalek::SigningKey;
use fedmkt_core::image::Status;
use fedmkt_core::manifest::{Audit, Disclosure, Manifest, ResultFile, Reward};
use fedmkt_core::receipt::{Body, ResultRecord, Trace, VERSION};
use fedmkt_core::roots::{ResultRoot, StateRoot};
use fedmkt_core::trace::trace_root;
use fedmkt_core::tree::{bytes_root, log2_size_for};
use fedmkt_runtime::envelope::Envelope;
use fedmkt_store::job::JobDrive;
use fedmkt_store::{BlockStore, FolderStore, files, put_value};

use crate::sandbox::{Done, Sandbox};

const AGE: &str = "age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq";

/// The published job with changes, and two results of a run of it.
fn run(sandbox: &Sandbox, change: impl FnOnce(&mut Manifest), metrics: &str) -> Body {
    let store = sandbox.store();
    let job: Cid = sandbox.publish().parse().expect("a CID");
    let mut manifest = Manifest::decode(&store.get(&job).expect("a block")).expect("a job");
    manifest.limits.output = 1 << 20;
    manifest.results = ["weights", "metrics.csv"].map(|name| ResultFile { name: name.into(), most_bytes: 9000 }).into();
    change(&mut manifest);
    assert_eq!(manifest.check(), []);
    let job = put_value(&store, &manifest).expect("a job");
    let job_root = JobDrive::open(&store, &job).and_then(|drive| drive.root(&store)).expect("a drive");
    let segments = vec![StateRoot([1; 32]), StateRoot([2; 32]), StateRoot([3; 32])];
    let record = |(file, content): (&ResultFile, &[u8])| ResultRecord {
        name: file.name.clone(),
        size: content.len() as u64,
        root: ResultRoot(bytes_root(content, log2_size_for(content.len() as u64)).0),
        cid: files::add_file(&store, content).expect("a file").cid,
    };
    let mut body = Body {
        version: VERSION,
        profile: manifest.profile.clone(),
        job,
        run_id: Default::default(),
        job_root,
        data_root: Default::default(),
        blind_hash: Default::default(),
        trace: Trace { root: trace_root(&segments), steps: 3, steps_per_segment: 1, segments },
        outcome: Status::Done,
        results: manifest.results.iter().zip([&b"weights"[..], metrics.as_bytes()]).map(record).collect(),
    };
    seal(&mut body);
    body
}

/// Makes the last leaf what follows from the rest of the body.
fn seal(body: &mut Body) {
    *body.trace.segments.last_mut().expect("a segment") = body.last_leaf(24);
    body.trace.root = trace_root(&body.trace.segments);
}

const METRICS: &str = "name,step,value\nloss,1,0.9\nloss,2,0.5\nloss,3,0.25\naccuracy,3,0.75\n";

fn sign(store: &FolderStore, body: &Body, engine: &str) -> Cid {
    let body = put_value(store, body).expect("a body");
    let envelope = Envelope::sign(body, engine, 1_800_000_000, 3_725, &SigningKey::from_bytes(&[7; 32]));
    put_value(store, &envelope).expect("an envelope")
}

fn page(sandbox: &Sandbox, receipt: &Cid) -> String {
    let page = sandbox.run(&["report", &receipt.to_string(), "--output", "-"]).text().to_string();
    assert_eq!(tags(&page).last().map(String::as_str), Some("/html"));
    page
}

/// The names of all tags in order; checks that they are closed in the right order, so that nothing broke out.
fn tags(page: &str) -> Vec<String> {
    let mut open = Vec::new();
    let mut tags = Vec::new();
    // The style has no tags, and `>` in it would confuse.
    let (before, rest) = page.split_once("<style>").expect("a style");
    let (_, after) = rest.split_once("</style>").expect("its end");
    for part in [before, after].concat().split('<').skip(1) {
        let (tag, text) = part.split_once('>').expect("an end of the tag");
        assert!(!text.contains('>'), "{part}");
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        let name = tag.split([' ', '\n']).next().expect("a name").to_string();
        match name.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop().as_deref(), Some(name), "{tag}"),
            None if tag.ends_with('/') || ["!doctype", "meta", "br"].contains(&&*name) => {}
            None => open.push(name.clone()),
        }
        tags.push(name);
    }
    assert_eq!(open, Vec::<String>::new());
    tags
}

#[test]
fn a_run_is_told_on_one_page() {
    let sandbox = Sandbox::new();
    let body = run(&sandbox, |_| {}, METRICS);
    let receipt = sign(&sandbox.store(), &body, "wasmtime 48");
    let page = page(&sandbox, &receipt);
    for said in [
        "<h1>example</h1>",
        "Learns nothing.",
        &receipt.to_string(),
        &body.job.to_string(),
        &body.job_root.to_string(),
        &body.trace.root.to_string(),
        &body.results[0].cid.to_string(),
        "wasmtime 48",
        "2027-01-15 08:00:00 UTC",
        "1 h 2 min",
        "class=\"curve\"",
        "loss over steps 1 to 3: from 0.9 to 0.25",
        "at least 10 rows",
        "anyone who wants to verify",
        "default-src 'none'",
    ] {
        assert!(page.contains(said), "{said} is not in {page}");
    }
    assert_eq!(page.matches("<figure>").count(), 2);
    assert_eq!(page.matches("title=\"checked\"").count(), 7, "all checks are right");
    for absent in ["Not so", "<script", "http://", "https://", "<img", "<link", "url("] {
        assert!(!page.contains(absent), "{absent}");
    }
}

#[test]
fn the_page_goes_where_it_is_wanted() {
    let sandbox = Sandbox::new();
    let body = run(&sandbox, |_| {}, METRICS);
    let receipt = sign(&sandbox.store(), &body, "");
    let name = sandbox.run(&["report", &format!("ipfs://{receipt}")]).line();
    assert_eq!(name, format!("{receipt}.html"));
    let page = page(&sandbox, &receipt);
    assert_eq!(fs::read_to_string(sandbox.path(&name)).expect("a page"), page);
    sandbox.run(&["report", &receipt.to_string(), "--output", "run.html"]).line();
    assert_eq!(fs::read_to_string(sandbox.path("run.html")).expect("a page"), page);
    sandbox.run(&["report", &receipt.to_string(), "--output", "/dev/null"]).line();
    sandbox
        .run(&["report", &receipt.to_string(), "--output", "no/folder.html"])
        .fails(3, "cannot write no/folder.html");
}

#[test]
fn texts_of_strangers_stay_texts() {
    let rude = "\"><script>alert('x')</script><img src=x onerror='y'>&amp;\u{202e}";
    // The same with harmless letters: the page must have the same tags.
    let plain = "x".repeat(rude.chars().count());
    let all = |text: &str| {
        let sandbox = Sandbox::new();
        let metrics = format!("name,step,value\n\"{}\",1,0.5\n", text.replace('"', "\"\"").replace('\u{202e}', ""));
        let change = |manifest: &mut Manifest| {
            manifest.name = text.into();
            manifest.description = text.into();
            manifest.arguments = vec![text.into(); 100];
            manifest.data.format = text.into();
            manifest.data.columns = Some(vec![text.into(), text.repeat(10)]);
            manifest.results[0].name = text.replace('/', "|");
            manifest.disclosure = Disclosure::Audited(Audit { auditors: vec![AGE.into()], per_million: 1 });
            manifest.reward = Some(Reward {
                chain_id: 1,
                market: format!("0x{}", "0".repeat(40)),
                token: format!("0x{}", "1".repeat(40)),
                amount: "1000".into(),
            });
        };
        let body = run(&sandbox, change, &metrics);
        let receipt = sign(&sandbox.store(), &body, text);
        page(&sandbox, &receipt)
    };
    let page = all(rude);
    assert_eq!(tags(&page), tags(&all(&plain)));
    assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)"), "{page}");
    assert!(!page.contains("<script") && !page.contains("<img") && !page.contains('\u{202e}'));
    assert!(page.contains("and 40 more"), "a long list is cut");
}

#[test]
fn what_is_wrong_with_a_receipt_stands_at_the_top() {
    let sandbox = Sandbox::new();
    let good = run(&sandbox, |_| {}, METRICS);
    let store = sandbox.store();
    let lie = |change: &dyn Fn(&mut Body)| {
        let mut body = good.clone();
        change(&mut body);
        page(&sandbox, &sign(&store, &body, "engine"))
    };
    let wrong = "<b class=\"bad\">Not so:</b> ";
    assert!(lie(&|body| body.results[0].size = 6).contains(&format!("{wrong}weights has the size")));
    assert!(lie(&|body| body.results[0].root = Default::default()).contains(&format!("{wrong}weights has the size")));
    assert!(
        lie(&|body| body.results[0].name = "other".into()).contains(&format!("{wrong}other is a result of the job"))
    );
    assert!(lie(&|body| body.job_root = Default::default()).contains(&format!("{wrong}The job root is that")));
    assert!(lie(&|body| body.trace.steps = 9).contains(&format!("{wrong}Its parts agree")));
    // A signature over something else.
    let body = put_value(&store, &good).expect("a body");
    let envelope = Envelope::sign(body, "engine", 1, 1, &SigningKey::from_bytes(&[7; 32]));
    let forged = put_value(&store, &Envelope { seconds: 2, ..envelope }).expect("an envelope");
    assert!(page(&sandbox, &forged).contains(&format!("{wrong}The receipt is signed")));
    sandbox.run(&["inspect", &forged.to_string()]).fails(1, "the signature is wrong");
    assert!(page(&sandbox, &body).contains("which nobody has signed"));
}

#[test]
fn what_the_store_does_not_have_is_not_checked() {
    let sandbox = Sandbox::new();
    let body = run(&sandbox, |_| {}, METRICS);
    let store = sandbox.store();
    let receipt = sign(&store, &body, "engine");
    let other = FolderStore::new(sandbox.path("other"));
    for cid in [receipt, put_value(&store, &body).expect("a body")] {
        other.put(&cid, &store.get(&cid).expect("a block")).expect("a block");
    }
    let report = ["--store", "other", "report", &receipt.to_string(), "--output", "-"];
    let page = sandbox.run(&report).text().to_string();
    assert!(page.contains("A job that is not in this store"));
    assert!(page.contains("The run left no metrics in this store"));
    assert_eq!(page.matches("(cannot be checked with what is in this store)").count(), 5);
    assert!(!page.contains("Not so"));
}

#[test]
fn a_run_without_results_has_a_page_too() {
    let sandbox = Sandbox::new();
    let mut body = run(&sandbox, |_| {}, METRICS);
    body.results.clear();
    body.outcome = Status::Failed(-1);
    seal(&mut body);
    let page = page(&sandbox, &sign(&sandbox.store(), &body, "engine"));
    assert!(page.contains("<span class=\"badge bad\">failed with code -1</span>"));
    assert!(page.contains("Nothing: a run leaves results only when it is done."));
}

#[test]
fn a_flood_of_metrics_makes_no_flood_of_curves() {
    let sandbox = Sandbox::new();
    let mut metrics = "name,step,value\n".to_string();
    (0..200).for_each(|number| metrics += &format!("m{number:03},1,1\nm{number:03},2,inf\nm{number:03},3,NaN\n"));
    let body = run(&sandbox, |manifest| manifest.results[1].most_bytes = 100_000, &metrics);
    let page = page(&sandbox, &sign(&sandbox.store(), &body, "engine"));
    assert_eq!(page.matches("<figure>").count(), 24);
    assert!(page.contains("And 176 more metrics"));
    assert!(!page.contains("NaN") && !page.contains("inf,"));
}

#[test]
fn what_is_no_receipt_is_refused() {
    let sandbox = Sandbox::new();
    let job = sandbox.publish();
    let says: Done = sandbox.run(&["report", &job]);
    says.fails(3, "is not a receipt: `fedmkt inspect");
    let file = sandbox.run(&["store", "add", "model.bin"]).line();
    sandbox.run(&["report", &file]).fails(3, "is not a receipt");
    sandbox
        .run(&["report", "bafyreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"])
        .fails(3, "is not in the store");
}

#[test]
fn a_signed_receipt_is_inspected() {
    let sandbox = Sandbox::new();
    let body = run(&sandbox, |_| {}, METRICS);
    let receipt = sign(&sandbox.store(), &body, "wasmtime 48").to_string();
    let shown = sandbox.run(&["inspect", &receipt]);
    for said in [", signed", "2027-01-15 08:00:00 UTC, after 3725 s", "wasmtime 48", "Outcome     done", "metrics.csv"]
    {
        assert!(shown.text().contains(said), "{said}: {}", shown.text());
    }
    let object = sandbox.run(&["inspect", &receipt, "--json"]).json();
    assert_eq!(object["kind"], "receipt");
    assert_eq!(object["body"]["job"], body.job.to_string());
    assert_eq!(object["body"]["trace"]["root"], body.trace.root.to_string());
    assert_eq!(object["envelope"]["seconds"], 3_725);
}
