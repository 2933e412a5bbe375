//! Certificates of listeners: their files looked at once a second, and read again when they have changed.
//!
//! By `stat`, not by inotify: certificates are replaced by renaming, by changing a symbolic link of a folder above, or on a
//! file system of another host, of which inotify tells some and `stat` all.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::supervisor::Control;
use crate::config::read_tls;
use crate::metrics::exposition::CertificateReading;
use crate::plan::{Plan, Section, Tls};

/// What is known of the files.
#[derive(Default)]
pub(super) struct Certificates {
    /// How they were when they were read last; empty: they are to be read.
    read: Stamps,
    /// How they were when they were looked at last.
    seen: Stamps,
    /// Times that files could not be used.
    pub failed: u64,
    /// Listeners whose files could not be used when they were read last.
    failing: HashSet<Box<str>>,
}

type Stamps = HashMap<PathBuf, Option<Stamp>>;

/// What tells that a file is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    /// Seconds and nanoseconds since 1970.
    changed: (i64, i64),
}

impl Certificates {
    /// The files are to be read again: something in them has changed since, and no more since the last look. A certificate and
    /// its key are replaced one after the other, and are not each other's in between.
    fn look(&mut self, plan: &Plan) -> bool {
        let tls = plan.sections.iter().filter_map(|section| section.tls.as_ref());
        let files = tls.flat_map(|tls| tls.files.all()).map(|(_, path)| (path.to_owned(), stamp(path)));
        let now: Stamps = files.collect();
        let is_due = now == self.seen && now != self.read;
        if is_due {
            self.read.clone_from(&now);
        }
        self.seen = now;
        is_due
    }

    /// Whatever there is was read just now, or is about to be: nobody knows which it was.
    pub fn forget(&mut self) {
        self.read.clear();
    }
}

/// `None`: there is no such file, or nobody may look.
fn stamp(path: &Path) -> Option<Stamp> {
    let found = fs::metadata(path).ok()?;
    let changed = (found.mtime(), found.mtime_nsec());
    Some(Stamp { device: found.dev(), inode: found.ino(), bytes: found.size(), changed })
}

/// A Plan with its files read again, and what is to be told.
struct Renewed {
    /// `None`: nothing has changed.
    plan: Option<Plan>,
    renewed: Vec<String>,
    /// Those in use stand in the files again.
    mended: Vec<String>,
    /// By listener.
    failed: HashMap<Box<str>, String>,
}

/// Reads the files again. A listener whose files cannot be used keeps what it has; those of `failing` could not the last time.
fn renew(plan: &Plan, failing: &HashSet<Box<str>>) -> Renewed {
    let (mut renewed, mut mended, mut failed) = (Vec::new(), Vec::new(), HashMap::new());
    let read = |section: &Section| {
        let mut section = section.clone();
        let Some(old) = section.tls.take() else { return section };
        let new = read_tls(&old.files);
        section.tls = Some(match new {
            Ok(new) if new == *old => {
                if failing.contains(&section.name) {
                    mended.push(format!(
                        "the certificates of listener {} can be used again: they are those in use",
                        section.name
                    ));
                }
                old
            }
            Ok(new) => {
                renewed.push(format!("listener {} has new certificates: {}", section.name, summary(&new)));
                Arc::new(new)
            }
            Err(fault) => {
                let told = format!(
                    "the certificates of listener {} cannot be used, those from before stay in use: {fault}",
                    section.name
                );
                failed.insert(section.name.clone(), told);
                old
            }
        });
        section
    };
    let sections: Arc<[Section]> = plan.sections.iter().map(read).collect();
    let plan = (!renewed.is_empty()).then(|| Plan { sections, ..plan.clone() });
    Renewed { plan, renewed, mended, failed }
}

/// Subjects and ends.
fn summary(tls: &Tls) -> String {
    let one = |credentials: &crate::tls::Credentials| {
        format!("{} until {}", credentials.certificate().subject, crate::tls::date(credentials.not_after()))
    };
    tls.credentials.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// The certificates of a new configuration that are the same as before, taken from there: sessions that clients have from
/// those can be resumed.
pub(super) fn keep(old: &Plan, new: &Plan) -> Arc<[Section]> {
    let kept = |section: &Section| {
        let same = old.sections.iter().find(|other| other.name == section.name && other.tls == section.tls);
        Section { tls: same.map_or(&section.tls, |other| &other.tls).clone(), ..section.clone() }
    };
    new.sections.iter().map(kept).collect()
}

/// When each certificate runs out.
pub(super) fn readings(plan: &Plan) -> Vec<CertificateReading> {
    let of_section = |section: &Section| -> Vec<CertificateReading> {
        let Some(tls) = &section.tls else { return Vec::new() };
        let pairs = tls.credentials.iter().zip(&tls.files.pairs);
        let reading =
            |(credentials, files): (&crate::tls::Credentials, &crate::plan::PairFiles)| CertificateReading {
                listener: section.name.clone(),
                file: files.certificate.display().to_string().into(),
                not_after: credentials.not_after(),
            };
        pairs.map(reading).collect()
    };
    plan.sections.iter().flat_map(of_section).collect()
}

impl Control {
    /// Looks after the files.
    pub(super) fn care_for_certificates(&mut self) {
        if !self.certificates.look(&self.parts.plan) {
            return;
        }
        let Renewed { plan, renewed, mended, failed } = renew(&self.parts.plan, &self.certificates.failing);
        failed.values().for_each(|text| tracing::error!("{text}"));
        self.certificates.failed += failed.len() as u64;
        self.certificates.failing = failed.into_keys().collect();
        renewed.iter().chain(&mended).for_each(|text| tracing::info!("{text}"));
        if let Some(plan) = plan {
            self.parts.plan = Arc::new(plan);
            self.publish();
        }
        self.show_certificates();
    }

    /// Shows the metrics when certificates run out.
    pub(super) fn show_certificates(&self) {
        let mut facts = self.monitor.facts();
        facts.certificates = readings(&self.parts.plan);
        facts.process.certificates_failed = self.certificates.failed;
    }
}

#[cfg(test)]
#[path = "certificates_tests.rs"]
mod tests;
