//! Blocks from gateways that are slow, wrong, endless or gone.

use std::fs;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cid::Cid;
use fedmkt_core::unixfs::{DAG_PB, RAW, block_cid};
use fedmkt_store::{
    BlockStore, CachedStore, Ended, Endpoint, Failure, FolderStore, Kubo, Network, Patience, StoreError, Tried, Until,
    car, files,
};
use fedmkt_test_kit::dag_pb::{put_block, put_file};

use crate::server::{Answer, Server};
use crate::stream::stream;
use crate::test_store::{TestStore, test_store};

const MOST: u64 = 1 << 30;

/// Nobody here needs long.
fn patience() -> Patience {
    let mut patience = Patience::default();
    // Tests that wait for this to pass set it lower.
    patience.answer = Duration::from_secs(60);
    patience.pause = Duration::from_millis(1);
    patience.tries = 3;
    patience
}

/// That of somebody who knows that no answer will come.
fn impatience() -> Patience {
    let mut patience = patience();
    patience.answer = Duration::from_millis(100);
    patience.portion = Duration::from_millis(100);
    patience.head_start = Duration::from_millis(10);
    patience.tries = 1;
    patience
}

fn network(patience: Patience, gateways: &[&Server]) -> Network {
    let gateways = gateways.iter().map(|server| server.endpoint.clone());
    Network::new(None, gateways, patience).expect("a network")
}

/// A gateway that has what is in this store.
fn honest(blocks: &TestStore) -> Server {
    let folder = blocks.store.folder().to_owned();
    Server::start(move |path| serve(&FolderStore::new(&folder), path))
}

fn asked_for(path: &str) -> (Cid, &str) {
    let (cid, query) = path.strip_prefix("/ipfs/").and_then(|path| path.split_once('?')).expect("a gateway's path");
    (cid.parse().expect("a CID"), query)
}

fn serve(store: &FolderStore, path: &str) -> Answer {
    let (cid, query) = asked_for(path);
    if query.starts_with("format=raw") {
        return match store.get(&cid) {
            Ok(block) => Answer::Whole(200, block),
            Err(_) => Answer::Whole(404, b"no such block".into()),
        };
    }
    let mut archive = Vec::new();
    match car::export(store, &[cid], &mut archive) {
        Ok(()) => Answer::Whole(200, archive),
        Err(_) => Answer::Whole(404, b"no such block".into()),
    }
}

/// A gateway that answers blocks honestly, and archives as this says.
fn archives(blocks: &TestStore, archive: impl Fn() -> Answer + Send + Sync + 'static) -> Server {
    let folder = blocks.store.folder().to_owned();
    Server::start(
        move |path| {
            if path.contains("format=raw") { serve(&FolderStore::new(&folder), path) } else { archive() }
        },
    )
}

fn no_archive(blocks: &TestStore) -> Server {
    archives(blocks, || Answer::Whole(501, Vec::new()))
}

fn raw_requests(server: &Server) -> usize {
    server.requests().iter().filter(|path| path.contains("format=raw")).count()
}

/// A file of five blocks and a node.
fn sample(test: &TestStore) -> Cid {
    files::add_file(&test.store, stream(5 << 20)).expect("a file").cid
}

/// Bytes of each part of [`small_parts`] but the last, which has more.
const PART_BYTES: usize = 10 << 10;

/// A file of fifty small blocks and a node: many enough for an archive.
fn small_parts(test: &TestStore) -> Cid {
    let parts: Vec<_> = (0..50u8)
        .map(|number| {
            let bytes = PART_BYTES + usize::from(number);
            (put_block(&test.store, RAW, &vec![number; bytes]), bytes as u64)
        })
        .collect();
    put_file(&test.store, &parts)
}

fn archive_of(test: &TestStore, root: &Cid) -> Vec<u8> {
    let mut archive = Vec::new();
    car::export(&test.store, &[*root], &mut archive).expect("an archive");
    archive
}

/// An archive of these blocks, whether they are right or not.
fn archive_with(blocks: &[(Cid, &[u8])]) -> Vec<u8> {
    let empty = test_store();
    let root = put_block(&empty.store, RAW, b"");
    let mut archive = archive_of(&empty, &root);
    // Header first, then one section of an empty block.
    archive.truncate(archive.len() - 37);
    for (cid, block) in blocks {
        let (cid, mut length) = (cid.to_bytes(), (cid.to_bytes().len() + block.len()) as u64);
        while length >= 0x80 {
            archive.push(length as u8 | 0x80);
            length >>= 7;
        }
        archive.push(length as u8);
        archive.extend_from_slice(&cid);
        archive.extend_from_slice(block);
    }
    archive
}

fn tried(error: StoreError) -> Vec<Failure> {
    match error {
        StoreError::Unavailable { tried, .. } => tried.into_iter().map(|Tried { failure, .. }| failure).collect(),
        other => panic!("{other}"),
    }
}

/// Fetches into an empty store, and says what is in the store then.
fn fetch(network: &Network, root: &Cid, most: u64) -> (Result<(), StoreError>, TestStore) {
    let test = test_store();
    (network.fetch(&test.store, root, most), test)
}

fn assert_whole(test: &TestStore, source: &TestStore, root: &Cid) {
    test.store.pin(root).expect("all blocks");
    assert_eq!(archive_of(test, root), archive_of(source, root));
}

#[test]
fn a_gateway_gives_blocks_and_archives() {
    let source = test_store();
    let (raw, car) = ("format=raw", "format=car&dag-scope=all");
    // Large blocks come one by one, many small ones in an archive.
    for (root, wanted) in [(sample(&source), [raw; 6].as_slice()), (small_parts(&source), &[raw, car])] {
        let server = honest(&source);
        let network = network(patience(), &[&server]);
        let (done, test) = fetch(&network, &root, MOST);
        done.expect("all blocks");
        assert_whole(&test, &source, &root);
        let kinds: Vec<_> = server.requests().iter().map(|path| asked_for(path).1.to_owned()).collect();
        assert_eq!(kinds, wanted);
        // What is there is not asked for again.
        network.fetch(&test.store, &root, MOST).expect("all blocks");
        assert_eq!(server.requests().len(), wanted.len());
    }
}

#[test]
fn an_archive_is_not_worth_a_few_blocks() {
    let source = test_store();
    let root = small_parts(&source);
    let links = files::Node::decode(&root, &source.store.get(&root).expect("a block")).expect("a node").links;
    let test = test_store();
    for link in &links[5..] {
        test.store.put(&link.cid, &source.store.get(&link.cid).expect("a block")).expect("kept");
    }
    let server = honest(&source);
    network(patience(), &[&server]).fetch(&test.store, &root, MOST).expect("all blocks");
    assert_whole(&test, &source, &root);
    assert_eq!((raw_requests(&server), server.requests().len()), (6, 6));
}

#[test]
fn a_store_gets_what_it_lacks_and_keeps_it() {
    let source = test_store();
    let root = sample(&source);
    let server = honest(&source);
    let test = test_store();
    let store = CachedStore::new(FolderStore::new(test.store.folder()), Some(network(patience(), &[&server])));
    let content = files::read_file(&store, &root, MOST).expect("a file");
    assert!(content == files::read_file(&source.store, &root, MOST).expect("a file"));
    assert_eq!(raw_requests(&server), 6);
    test.store.pin(&root).expect("all blocks");
    // Now a block is damaged; it comes anew.
    let leaf = test.store.blocks().expect("blocks").into_iter().find(|(cid, _)| cid.codec() == RAW).expect("a leaf").0;
    let name = leaf.to_string();
    let path = test.store.folder().join("blocks").join(&name[name.len() - 3..name.len() - 1]).join(&name);
    fs::write(&path, b"damaged").expect("a file");
    assert!(matches!(test.store.get(&leaf), Err(StoreError::Damaged { .. })));
    assert_eq!(store.get(&leaf).expect("a block"), source.store.get(&leaf).expect("a block"));
    assert_eq!(test.store.get(&leaf).expect("a block"), source.store.get(&leaf).expect("a block"));
    assert_eq!(raw_requests(&server), 7);
}

#[test]
fn without_a_network_a_missing_block_is_missing() {
    let test = test_store();
    let store = CachedStore::new(FolderStore::new(test.store.folder()), None);
    let absent = block_cid(RAW, b"absent");
    assert!(matches!(store.get(&absent), Err(StoreError::Missing(cid)) if cid == absent));
    assert!(matches!(store.pin(&absent, MOST), Err(StoreError::Missing(_))));
}

#[test]
fn who_gives_a_wrong_block_is_not_asked_again() {
    let source = test_store();
    let blocks: Vec<Cid> = (0..4u8).map(|number| put_block(&source.store, RAW, &[number])).collect();
    let liar = Server::start(|_| Answer::Whole(200, b"something else".into()));
    let server = honest(&source);
    let network = network(patience(), &[&liar, &server]);
    for cid in &blocks {
        assert_eq!(network.block(cid).expect("a block"), source.store.get(cid).expect("a block"));
    }
    assert_eq!((liar.requests().len(), server.requests().len()), (1, 4));
    // Nor does anything wrong get in where nobody else is there to ask.
    let alone = super::network::network(patience(), &[&liar]);
    for _ in 0..2 {
        let error = alone.block(&blocks[0]).expect_err("a lie");
        assert!(error.to_string().contains(&liar.endpoint.to_string()), "{error}");
        assert!(matches!(tried(error)[..], [Failure::Wrong(_)]));
    }
    assert_eq!(liar.requests().len(), 2);
}

#[test]
fn a_block_without_end_is_read_as_far_as_a_block_may_be_long() {
    let endless = Server::start(|_| Answer::Endless(Vec::new(), vec![0; 1 << 16]));
    let error = network(patience(), &[&endless]).block(&block_cid(RAW, b"x")).expect_err("no block");
    assert!(matches!(tried(error)[..], [Failure::Wrong(_)]));
}

#[test]
fn who_is_silent_is_overtaken_or_given_up() {
    let source = test_store();
    let cid = put_block(&source.store, RAW, b"block");
    let silent = [Server::start(|_| Answer::Silence), Server::start(|_| Answer::Stuck(b"blo".into()))];
    let server = honest(&source);
    let mut patient = patience();
    patient.head_start = Duration::from_millis(1);
    let found = network(patient, &[&silent[0], &silent[1], &server]).block(&cid);
    assert_eq!(found.expect("a block"), b"block");
    let error = network(impatience(), &[&silent[0]]).block(&cid).expect_err("no answer");
    assert_eq!(tried(error), [Failure::Silent(impatience().answer)]);
    // Who has begun to answer has it, and is only slow.
    let mut patience = impatience();
    patience.answer = Duration::from_secs(60);
    let error = network(patience, &[&silent[1]]).block(&cid).expect_err("half an answer");
    assert_eq!(tried(error), [Failure::Slow(patience.portion)]);
}

/// A good answer of which so many bytes come at a time, and then a pause.
fn slowly(answer: Answer, (bytes, pause): (usize, Duration)) -> Answer {
    match answer {
        Answer::Whole(200, body) => Answer::Trickle(body, bytes, pause),
        other => other,
    }
}

#[test]
fn a_block_may_take_longer_than_an_answer_may_take_to_begin() {
    let source = test_store();
    let cid = put_block(&source.store, RAW, &[7; 300]);
    let folder = source.store.folder().to_owned();
    let slow =
        Server::start(move |path| slowly(serve(&FolderStore::new(&folder), path), (10, Duration::from_millis(100))));
    let mut patience = patience();
    patience.answer = Duration::from_secs(2);
    assert_eq!(network(patience, &[&slow]).block(&cid).expect("a block"), [7; 300]);
}

#[test]
fn compressed_answers_are_refused_unread() {
    // Fifty bytes of this would be a megabyte.
    let bomb = |encoding: &str| Answer::With(200, format!("Content-Encoding: {encoding}"), vec![0x1f; 100]);
    for encoding in ["gzip", "br", "zstd", "deflate", "gzip, gzip"] {
        let server = Server::start(move |_| bomb(encoding));
        let network = network(patience(), &[&server]);
        let error = network.block(&block_cid(RAW, b"x")).expect_err("no block");
        assert_eq!(tried(error), [Failure::Wrong("its answer is compressed".into())], "{encoding}");
    }
}

#[test]
fn what_may_pass_is_tried_again_and_nothing_else() {
    let source = test_store();
    let cid = put_block(&source.store, RAW, b"block");
    let answers = std::sync::Mutex::new(vec![
        Answer::Whole(200, b"block".into()),
        Answer::Cut(b"blo".into()),
        Answer::Whole(503, b"busy".into()),
    ]);
    let flaky = Server::start(move |_| answers.lock().expect("no panic").pop().expect("three answers"));
    assert_eq!(network(patience(), &[&flaky]).block(&cid).expect("a block"), b"block");
    assert_eq!(flaky.requests().len(), 3);

    let busy = Server::start(|_| Answer::Whole(429, b"too\x1b[2J many".into()));
    let error = network(patience(), &[&busy]).block(&cid).expect_err("no block");
    assert_eq!(tried(error), [Failure::Refused { code: 429, said: "too [2J many".into() }]);
    assert_eq!(busy.requests().len(), 3);

    let without = Server::start(|_| Answer::Whole(404, Vec::new()));
    let error = network(patience(), &[&without]).block(&cid).expect_err("no block");
    assert!(error.is_absence());
    assert_eq!(tried(error), [Failure::Absent]);
    assert_eq!(without.requests().len(), 1);
}

#[test]
fn a_gateway_that_is_not_there_says_so() {
    // Nobody listens there but by the system's administrator's wish.
    let endpoint: Endpoint = "http://127.0.0.1:1".parse().expect("an address");
    let network = Network::new(None, [endpoint], patience()).expect("a network");
    let error = network.block(&block_cid(RAW, b"x")).expect_err("nobody");
    assert!(error.to_string().contains("http://127.0.0.1:1 cannot be reached"), "{error}");
    assert!(matches!(tried(error)[..], [Failure::Unreachable(_)]));
}

#[test]
fn redirections_to_other_hosts_are_not_followed() {
    let source = test_store();
    let cid = put_block(&source.store, RAW, b"block");
    let elsewhere = honest(&source);
    let target = elsewhere.endpoint.to_string().replace("127.0.0.1", "localhost");
    let server = Server::start(move |path| Answer::With(302, format!("Location: {target}{path}"), Vec::new()));
    let error = network(patience(), &[&server]).block(&cid).expect_err("not followed");
    assert!(matches!(tried(error)[..], [Failure::Wrong(_)]));
    assert_eq!(elsewhere.requests().len(), 0);
    let circle = Server::start(|path| Answer::With(302, format!("Location: {path}"), Vec::new()));
    network(patience(), &[&circle]).block(&cid).expect_err("a circle");
    assert!(circle.requests().len() < 10);
}

#[test]
fn without_archives_everything_comes_block_by_block() {
    let source = test_store();
    let root = small_parts(&source);
    let server = no_archive(&source);
    let (done, test) = fetch(&network(patience(), &[&server]), &root, MOST);
    done.expect("all blocks");
    assert_whole(&test, &source, &root);
    assert_eq!(raw_requests(&server), 51);
}

#[test]
fn what_came_before_an_archive_broke_off_is_kept() {
    let source = test_store();
    let root = small_parts(&source);
    let archive = archive_of(&source, &root);
    // In the middle of a leaf, and between two sections.
    for end in [
        archive.len() / 2,
        archive.len() - archive_with(&[(root, &[0; PART_BYTES + 49])]).len() + archive_with(&[]).len(),
    ] {
        let cut = archive[..end].to_vec();
        let server = archives(&source, move || Answer::Cut(cut.clone()));
        let (done, test) = fetch(&network(patience(), &[&server]), &root, MOST);
        done.expect("all blocks");
        assert_whole(&test, &source, &root);
        // The root is asked for, too.
        assert!((2..30).contains(&raw_requests(&server)), "{:?}", server.requests());
    }
}

#[test]
fn an_archive_that_stops_coming_is_given_up() {
    let source = test_store();
    let root = small_parts(&source);
    let begin = archive_of(&source, &root)[..20 * PART_BYTES].to_vec();
    let stuck = archives(&source, move || Answer::Stuck(begin.clone()));
    let mut patience = patience();
    patience.portion = Duration::from_millis(200);
    let (done, test) = fetch(&network(patience, &[&stuck]), &root, MOST);
    done.expect("all blocks");
    assert_whole(&test, &source, &root);
    assert!((20..50).contains(&raw_requests(&stuck)), "{:?}", stuck.requests());
}

#[test]
fn an_archive_that_comes_slowly_is_taken_to_its_end_only_where_nobody_else_can_be_asked() {
    let source = test_store();
    let root = small_parts(&source);
    let archive = archive_of(&source, &root);
    let pace = (16 << 10, Duration::from_millis(100));
    let slow = archives(&source, move || slowly(Answer::Whole(200, archive.clone()), pace));
    let mut patience = patience();
    // Many times what 64 KiB take, and less than what all of it takes.
    patience.portion = Duration::from_secs(2);
    let (done, test) = fetch(&network(patience, &[&slow]), &root, MOST);
    done.expect("all blocks");
    assert_whole(&test, &source, &root);
    // The root.
    assert_eq!(raw_requests(&slow), 1);

    let server = honest(&source);
    let (done, test) = fetch(&network(patience, &[&slow, &server]), &root, MOST);
    done.expect("all blocks");
    assert_whole(&test, &source, &root);
    // What came before it was given up is kept.
    assert!((1..50).contains(&raw_requests(&server)), "{:?}", server.requests());
}

/// Whoever is this slow needs hours, but is never slow enough to be given up.
const TRICKLE: (usize, Duration) = (8, Duration::from_millis(20));

/// Up to a moment that comes soon.
fn soon() -> Until {
    Until::new(Some(Instant::now() + Duration::from_millis(300)), || false)
}

/// Until it was asked that often.
fn asked(times: usize) -> Until {
    let asked = AtomicUsize::new(0);
    Until::new(None, move || asked.fetch_add(1, Ordering::Relaxed) >= times)
}

#[test]
fn whoever_trickles_is_waited_for_up_to_a_moment_and_until_somebody_wants_to_stop() {
    let source = test_store();
    let root = small_parts(&source);
    let archive = archive_of(&source, &root);
    let folder = source.store.folder().to_owned();
    let slow_blocks = Server::start(move |path| slowly(serve(&FolderStore::new(&folder), path), TRICKLE));
    let slow_archives = archives(&source, move || slowly(Answer::Whole(200, archive.clone()), TRICKLE));
    let silent_archives = archives(&source, || Answer::Silence);
    for server in [&slow_blocks, &slow_archives, &silent_archives] {
        for (until, expected) in [(soon(), Ended::Late), (asked(5), Ended::Stopped)] {
            let network = network(patience(), &[server]).until(until);
            let (done, _) = fetch(&network, &root, MOST);
            assert!(matches!(done, Err(StoreError::Ended { why, .. }) if why == expected), "{done:?}");
            assert!(matches!(network.block(&root), Err(StoreError::Ended { why, .. }) if why == expected));
        }
    }
}

#[test]
fn what_came_before_the_end_is_kept_and_nothing_is_asked_for_after_it() {
    let source = test_store();
    // Each is a file in a file, so that one comes after the other; all of them would take a minute.
    let first = (put_block(&source.store, RAW, b"leaf"), 4);
    let root = (0..300).fold(first, |below, _| (put_file(&source.store, &[below]), 4)).0;
    let folder = source.store.folder().to_owned();
    let server = Server::start(move |path| {
        std::thread::sleep(Duration::from_millis(200));
        serve(&FolderStore::new(&folder), path)
    });
    let test = test_store();
    let store = |until| {
        CachedStore::new(FolderStore::new(test.store.folder()), Some(network(patience(), &[&server]))).until(until)
    };
    // Each block comes in time: it is all of them that take too long.
    let until = Until::new(Some(Instant::now() + Duration::from_secs(3)), || false);
    let done = store(until).prepare(&root, MOST);
    assert!(matches!(done, Err(StoreError::Ended { why: Ended::Late, .. })), "{done:?}");
    let (kept, requests) = (test.store.blocks().expect("blocks").len(), server.requests().len());
    assert!((1..300).contains(&kept), "{kept}");

    let over = store(Until::new(None, || true));
    assert!(matches!(over.get(&first.0), Err(StoreError::Ended { why: Ended::Stopped, .. })));
    assert!(matches!(over.prepare(&root, MOST), Err(StoreError::Ended { why: Ended::Stopped, .. })));
    assert_eq!(over.get(&root).expect("it is here"), source.store.get(&root).expect("a block"));
    assert_eq!(server.requests().len(), requests);
}

#[test]
fn nothing_that_was_not_asked_for_gets_in() {
    let source = test_store();
    let root = small_parts(&source);
    let good = source.store.get(&root).expect("a block");
    let foreign = vec![7; 1000];
    let foreign_cid = block_cid(RAW, &foreign);
    let leaf = files::Node::decode(&root, &good).expect("a node").links[0].cid;
    let hostile = [
        // Blocks of something else, before and after the root.
        archive_with(&[(foreign_cid, &foreign)]),
        archive_with(&[(root, &good), (foreign_cid, &foreign)]),
        // A leaf before what links to it.
        archive_with(&[(leaf, &source.store.get(&leaf).expect("a block")), (root, &good)]),
        // Blocks that are not what they are said to be.
        archive_with(&[(root, &foreign)]),
        archive_with(&[(root, &good), (leaf, &foreign)]),
        // The same block more often than anything links to it.
        archive_with(&vec![(root, good.as_slice()); 100]),
        // No archive at all, an empty one, and one that is said to be large.
        b"<html>".to_vec(),
        Vec::new(),
        archive_with(&[]),
        vec![0xff; 20],
        [archive_with(&[]), vec![0xff, 0xff, 0xff, 0xff, 0x0f]].concat(),
    ];
    for (number, archive) in hostile.into_iter().enumerate() {
        // It has the root, so that it is asked for the rest.
        let has = good.clone();
        let liar = Server::start(move |path| match asked_for(path) {
            (cid, "format=raw") if cid == root => Answer::Whole(200, has.clone()),
            _ => Answer::Whole(200, archive.clone()),
        });
        let (done, test) = fetch(&network(patience(), &[&liar]), &root, MOST);
        assert!(done.expect_err("a lie").is_absence(), "{number}");
        let kept: Vec<Cid> = test.store.blocks().expect("blocks").into_iter().map(|(cid, _)| cid).collect();
        assert_eq!(kept, [root], "{number}");
        assert!(liar.requests().iter().any(|path| path.contains("format=car")), "{number}");
        // Somebody honest beside it is enough.
        let server = honest(&source);
        let (done, test) = fetch(&network(patience(), &[&liar, &server]), &root, MOST);
        done.expect("all blocks");
        assert_whole(&test, &source, &root);
    }
}

#[test]
fn an_archive_without_end_is_given_up() {
    let source = test_store();
    let root = small_parts(&source);
    let good = source.store.get(&root).expect("a block");
    let first = archive_with(&[(root, &good)]);
    let again = first[archive_with(&[]).len()..].to_vec();
    let server = archives(&source, move || Answer::Endless(first.clone(), again.clone()));
    let (done, test) = fetch(&network(patience(), &[&server]), &root, MOST);
    // It was wrong: it is asked for nothing more, though it would answer blocks.
    assert!(done.expect_err("a lie").is_absence());
    assert_eq!(test.store.blocks().expect("blocks").len(), 1);
}

#[test]
fn no_more_is_fetched_than_allowed() {
    let source = test_store();
    let part = PART_BYTES as u64;
    for (root, most, enough, block) in
        [(sample(&source), 3 << 20, 6 << 20, 1 << 20), (small_parts(&source), 20 * part, 60 * part, 2 * part)]
    {
        for server in [honest(&source), no_archive(&source)] {
            let (done, test) = fetch(&network(patience(), &[&server]), &root, most);
            assert!(matches!(done, Err(StoreError::TooMuch { cid, .. }) if cid == root));
            assert!(test.store.used_bytes().expect("bytes") <= most + block);
            let network = network(patience(), &[&server]);
            network.fetch(&test.store, &root, enough).expect("it is allowed now");
            assert_whole(&test, &source, &root);
        }
    }
}

#[test]
fn a_dag_that_unfolds_without_end_is_fetched_once() {
    let source = test_store();
    let leaf = put_block(&source.store, RAW, &[7; 1 << 16]);
    let node = |below, bytes, width| (put_file(&source.store, &vec![(below, bytes); width]), width as u64 * bytes);
    // Narrow, and wide enough for archives.
    for (width, depth) in [(8, 12), (40, 8)] {
        let (bomb, _) = (0..depth).fold((leaf, 1u64 << 16), |(below, bytes), _| node(below, bytes, width));
        for server in [honest(&source), no_archive(&source)] {
            let (done, test) = fetch(&network(patience(), &[&server]), &bomb, 1 << 20);
            done.expect("so many nodes, and a leaf");
            assert_eq!(test.store.blocks().expect("blocks").len(), depth + 1);
        }
    }
}

#[test]
fn a_full_store_ends_a_fetch_with_a_clear_error() {
    let source = test_store();
    let root = sample(&source);
    let server = honest(&source);
    let test = test_store();
    test.store.set_quota(Some(2 << 20)).expect("a quota");
    let error = network(patience(), &[&server]).fetch(&test.store, &root, MOST).expect_err("no room");
    assert!(matches!(error, StoreError::Quota { .. }), "{error}");
}

#[test]
fn malformed_nodes_do_not_lead_on() {
    let source = test_store();
    let root = put_block(&source.store, DAG_PB, b"no node");
    for server in [honest(&source), no_archive(&source)] {
        let (done, _) = fetch(&network(patience(), &[&server]), &root, MOST);
        assert!(matches!(done, Err(StoreError::Malformed { .. })));
    }
}

#[test]
fn a_node_that_refuses_an_upload_says_what_to_do() {
    let source = test_store();
    let root = sample(&source);
    let cases: [(u16, &[u8], &str); 4] = [
        (404, b"404 page not found", "address of its RPC"),
        (403, b"403 - Access Denied", "API.Authorizations"),
        (500, br#"{"Message":"disk full","Code":0,"Type":"error"}"#, "disk full"),
        (200, b"", "cannot"),
    ];
    for (status, said, hint) in cases {
        let server = Server::start(move |path| match status {
            // Pins nothing, though it takes everything.
            200 if path.contains("pin/") => Answer::Whole(500, br#"{"Message":"is not pinned"}"#.to_vec()),
            _ => Answer::Whole(status, said.to_vec()),
        });
        let kubo = Kubo::new(server.endpoint.clone(), patience()).expect("a node");
        let error = kubo.upload(&source.store, &root, |_| ()).expect_err("refused");
        assert!(matches!(error, StoreError::Network { .. }) && error.to_string().contains(hint), "{error}");
    }
    let gone = Server::start(|_| Answer::Silence);
    let kubo = Kubo::new(gone.endpoint.clone(), impatience()).expect("a node");
    let error = kubo.upload(&source.store, &root, |_| ()).expect_err("silent");
    assert!(error.to_string().contains("did not answer"), "{error}");
    let mut content = files::FileReader::new(&source.store, &root, MOST);
    assert_eq!(io::copy(&mut content, &mut io::sink()).expect("nothing is lost"), 5 << 20);
}
