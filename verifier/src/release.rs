//! Releases of the replayer: its image by hash, and the templates of the machines that it makes.
//!
//! A job names the release that its steps are replayed with. What a release pins never changes; another compiler or other
//! sources make another release. `cargo xtask machine --pin NAME` writes one, and `--check` says whether this computer's
//! compiler reproduces the latest.

use fedmkt_core::manifest::SizeClass;
use fedmkt_core::roots::Hash;
use serde::Deserialize;

use crate::step::Image;
use crate::template::Template;

/// The oldest first.
const TEXTS: [&str; 3] = [
    include_str!("../releases/fedmkt-0.1.toml"),
    include_str!("../releases/fedmkt-0.2.toml"),
    include_str!("../releases/fedmkt-0.3.toml"),
];

/// A release.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Its name, which jobs have in their manifests.
    #[serde(rename = "release")]
    pub name: String,
    /// SHA-256 of the image in hexadecimal digits.
    pub sha256: String,
    /// Bytes of the image.
    pub bytes: u64,
    /// The compiler that makes this image.
    pub compiler: String,
    low: Low,
}

/// [`Template::low`] by size class.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "UPPERCASE")]
struct Low {
    s: Hash,
    m: Hash,
    l: Hash,
}

impl Release {
    /// All releases, the latest last.
    pub fn all() -> Vec<Self> {
        TEXTS.iter().map(|text| toml::from_str(text).expect("a test reads every release")).collect()
    }

    /// The release of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|release| release.name == name)
    }

    /// The release that pins this image.
    pub fn of(image: &Image) -> Option<Self> {
        let sha256 = image.sha256();
        Self::all().into_iter().find(|release| release.sha256 == sha256)
    }

    /// The template of a size class.
    pub fn template(&self, class: SizeClass) -> Template {
        let low = match class {
            SizeClass::S => self.low.s,
            SizeClass::M => self.low.m,
            SizeClass::L => self.low.l,
        };
        Template { class, low }
    }
}

#[cfg(test)]
mod tests {
    use fedmkt_core::manifest::RELEASE;

    use super::*;

    #[test]
    fn jobs_name_the_latest_release() {
        assert_eq!(Release::all().last().expect("a release").name, RELEASE);
    }

    #[test]
    fn releases_are_told_apart_by_name_and_image() {
        let all = Release::all();
        for (index, release) in all.iter().enumerate() {
            assert_eq!(Release::named(&release.name).as_ref(), Some(release));
            assert!(all[..index].iter().all(|other| other.sha256 != release.sha256), "{}", release.name);
        }
        assert_eq!(Release::named("no release"), None);
    }
}
