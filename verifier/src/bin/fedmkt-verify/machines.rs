//! The machines of this computer.

use std::time::Duration;

use anyhow::anyhow;
use fedmkt_runtime::home::Home;
use fedmkt_verifier::cartesi::Cartesi;
use fedmkt_verifier::machine::{Failure, Machine};
use fedmkt_verifier::qemu::Qemu;
use fedmkt_verifier::release::Release;
use fedmkt_verifier::step::Image;

use crate::arguments::{self, Engine};
use crate::{Ended, Exit, OrExit, Outcome};

/// How often a long replay is saved.
const SNAPSHOT_EVERY: Duration = Duration::from_secs(300);

/// The machine that was asked for.
pub fn choose(engine: Engine, home: &Home) -> Outcome<Box<dyn Machine>> {
    let cartesi = || -> Result<Box<dyn Machine>, Failure> {
        Ok(Box::new(Cartesi::find()?.with_snapshots(&home.path().join("replays"), SNAPSHOT_EVERY)))
    };
    let qemu = || -> Result<Box<dyn Machine>, Failure> { Ok(Box::new(Qemu::find()?)) };
    match engine {
        Engine::Cartesi => cartesi().or_exit(Exit::Host),
        Engine::Qemu => qemu().or_exit(Exit::Host),
        Engine::Native => Err(Ended(Exit::Usage, anyhow!("`native` is no machine: give `qemu` or `cartesi`"))),
        Engine::Machine => cartesi()
            .or_else(|no_cartesi| {
                eprintln!("Note: {no_cartesi}. QEMU shows the same, but yields no machine hash.");
                qemu()
            })
            .or_exit(Exit::Host),
    }
}

/// The image that was named, or the one that is found.
pub fn image(arguments: &arguments::Image) -> Outcome<Image> {
    match &arguments.image {
        Some(path) => Image::read(path),
        None => Image::find(),
    }
    .or_exit(Exit::Host)
}

/// The image for steps of a job that names this release. Another one may show the same states, but makes other hashes.
pub fn image_of(arguments: &arguments::Image, release: Option<&str>) -> Outcome<Image> {
    let image = image(arguments)?;
    // A job of another release than this program's does not get here.
    if let Some(release) = release.and_then(Release::named).filter(|release| release.sha256 != image.sha256()) {
        eprintln!(
            "Note: {} is not the image of the replayer's release {}, which the job names: machine hashes will differ. {} makes \
             that one.",
            image.path().display(),
            release.name,
            release.compiler
        );
    }
    Ok(image)
}
