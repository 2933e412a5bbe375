//! What a check found, and what to do about it.

/// How a host does in one point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Status {
    /// As tuning.md wants it.
    Pass,
    /// Calls may suffer.
    Warn,
    /// Viaduct does not run, or messages are lost.
    Fail,
    /// It cannot be told here.
    Skip,
}

impl Status {
    /// All of them, the worst last but for what is unknown.
    pub const ALL: [Self; 4] = [Self::Pass, Self::Warn, Self::Fail, Self::Skip];

    /// The stable name.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Skip => "skip",
        }
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The check's stable name.
    pub code: &'static str,
    /// How it is.
    pub status: Status,
    /// What was looked at: a sysctl, an interface, a core.
    pub subject: String,
    /// What is so; for [`Status::Skip`], why it cannot be told.
    pub found: String,
    /// What tuning.md wants.
    pub wanted: String,
    /// Why it matters.
    pub why: &'static str,
    /// A command to copy; none where there is nothing to mend.
    pub remedy: Option<String>,
    /// The section's anchor in tuning.md.
    pub section: &'static str,
}

/// What a check says of one subject; [`super::Check`] knows the rest.
pub(super) struct Verdict {
    pub status: Status,
    pub subject: String,
    pub found: String,
    pub wanted: Option<String>,
    pub remedy: Option<String>,
}

impl Verdict {
    pub fn new(status: Status, subject: impl Into<String>, found: impl Into<String>) -> Self {
        Self { status, subject: subject.into(), found: found.into(), wanted: None, remedy: None }
    }

    pub fn pass(subject: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(Status::Pass, subject, found)
    }

    pub fn warn(subject: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(Status::Warn, subject, found)
    }

    pub fn fail(subject: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(Status::Fail, subject, found)
    }

    /// [`Status::Pass`] where it holds, else the other.
    pub fn hold(good: bool, else_: Status, subject: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(if good { Status::Pass } else { else_ }, subject, found)
    }

    /// What is wanted of this subject, where the check's own words do not fit.
    pub fn wanted(mut self, wanted: impl Into<String>) -> Self {
        self.wanted = Some(wanted.into());
        self
    }

    /// The command that mends it; dropped where nothing is to be mended.
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        if matches!(self.status, Status::Warn | Status::Fail) {
            self.remedy = Some(remedy.into());
        }
        self
    }
}
