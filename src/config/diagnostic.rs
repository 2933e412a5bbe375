//! Findings: what is wrong, where, and what to do about it.

use std::fmt;
use std::io;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::findings::{Finding, Severity, Subject};

/// The code of what is wrong with the file itself.
const OF_THE_FILE: &str = "configuration";

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad.
    pub severity: Severity,
    /// What sort of thing, for scripts: kebab-case and stable.
    pub code: &'static str,
    /// What it is about, where the host is what it does not fit.
    pub subject: Option<Subject>,
    /// Bytes of the file that it is about; empty at the start: the file as a whole.
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do, or what belongs there.
    pub hint: String,
}

impl Diagnostic {
    /// Says what sort of thing it is, kebab-case; without it `configuration`.
    pub fn code(&mut self, code: &'static str) -> &mut Self {
        self.code = code;
        self
    }
}

/// All findings about one text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings {
    origin: String,
    text: String,
    /// Where each line begins.
    lines: Vec<usize>,
    list: Vec<Diagnostic>,
}

impl Findings {
    /// No findings yet about this text.
    pub fn new(origin: &str, text: String) -> Self {
        let lines = std::iter::once(0).chain(memchr::memchr_iter(b'\n', text.as_bytes()).map(|at| at + 1));
        Self { origin: origin.to_owned(), lines: lines.collect(), text, list: Vec::new() }
    }

    pub(super) fn unreadable(origin: &str, error: &io::Error) -> Self {
        let mut findings = Self::new(origin, String::new());
        let hint = match error.kind() {
            // A start, a reload and other commands say so.
            io::ErrorKind::NotFound => "put the file there; README.md has some to copy",
            io::ErrorKind::PermissionDenied => "let the user read it that Viaduct runs as",
            _ => "a configuration is a file of text: -c FILE",
        };
        findings.error(0..0, format!("the file cannot be read: {error}"), hint);
        findings
    }

    pub(super) fn not_text(origin: &str, error: &std::string::FromUtf8Error) -> Self {
        let at = error.utf8_error().valid_up_to();
        let mut findings = Self::new(origin, String::from_utf8_lossy(error.as_bytes()).into_owned());
        findings.error(at..at + '\u{fffd}'.len_utf8(), "this is not UTF-8", "save the file as UTF-8");
        findings
    }

    /// Adds an error; `hint` says what to do, or what belongs there.
    pub fn error(
        &mut self,
        span: Range<usize>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> &mut Diagnostic {
        self.add(Severity::Error, span, message.into(), hint.into())
    }

    /// Adds a warning, likewise.
    pub fn warn(
        &mut self,
        span: Range<usize>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> &mut Diagnostic {
        self.add(Severity::Warning, span, message.into(), hint.into())
    }

    /// Adds what works, and should be known, likewise.
    pub fn note(
        &mut self,
        span: Range<usize>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> &mut Diagnostic {
        self.add(Severity::Note, span, message.into(), hint.into())
    }

    fn add(
        &mut self,
        severity: Severity,
        span: Range<usize>,
        message: String,
        hint: String,
    ) -> &mut Diagnostic {
        let at = self.list.len();
        self.list.push(Diagnostic { severity, code: OF_THE_FILE, subject: None, span, message, hint });
        &mut self.list[at]
    }

    /// Adds what does not fit the host.
    pub(super) fn of_host(&mut self, span: Range<usize>, finding: Finding) {
        let message = finding.message();
        self.list.push(Diagnostic {
            severity: finding.severity,
            code: finding.code.label(),
            span,
            message,
            hint: finding.remedy,
            subject: Some(finding.subject),
        });
    }

    /// Without what does not fit the host: a running process tells that itself, as it comes and goes.
    #[must_use]
    pub fn of_the_file(mut self) -> Self {
        self.list.retain(|finding| finding.subject.is_none());
        self
    }

    /// All of them, in the order found.
    pub fn list(&self) -> &[Diagnostic] {
        &self.list
    }

    /// There is an error among them.
    pub fn has_errors(&self) -> bool {
        self.has_errors_since(0)
    }

    /// There is an error behind the first so many.
    pub(super) fn has_errors_since(&self, known: usize) -> bool {
        self.list.iter().skip(known).any(|d| d.severity == Severity::Error)
    }

    /// The file's name.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Line and column of a byte, from 1; columns count characters.
    pub fn line_column(&self, at: usize) -> (usize, usize) {
        let line = self.line_of(at);
        let before = self.text.get(self.lines[line]..at).unwrap_or("");
        (line + 1, before.chars().count() + 1)
    }

    /// Number of a byte's line, from 0; of the last line for what is beyond the end.
    fn line_of(&self, at: usize) -> usize {
        self.lines.partition_point(|&begin| begin <= at) - 1
    }

    /// The lines that hold a span, the number of the first of them from 0, and the span within them. The
    /// renderer reads all that it is given, for each finding.
    fn excerpt(&self, span: &Range<usize>) -> (&str, usize, Range<usize>) {
        let end = span.end.min(self.text.len());
        let start = span.start.min(end);
        let (first, last) = (self.line_of(start), self.line_of(end));
        let begin = self.lines[first];
        let after = self.lines.get(last + 1).copied().unwrap_or(self.text.len());
        (&self.text[begin..after], first, start - begin..end - begin)
    }

    /// The findings as an operator reads them, with the offending text underlined.
    pub fn render(&self, renderer: &Renderer) -> String {
        let mut out = String::new();
        for finding in &self.list {
            let level = match finding.severity {
                Severity::Error => Level::ERROR,
                Severity::Warning => Level::WARNING,
                Severity::Note => Level::NOTE,
            };
            let mut title = level.primary_title(&finding.message);
            if finding.code != OF_THE_FILE {
                title = title.id(finding.code);
            }
            // What is about the host as a whole stands nowhere in the file.
            let mut group = if self.text.is_empty() || finding.subject == Some(Subject::Host) {
                Group::with_title(title).element(annotate_snippets::Origin::path(&self.origin))
            } else {
                let (lines, first, span) = self.excerpt(&finding.span);
                let place = AnnotationKind::Primary.span(span);
                let snippet = Snippet::source(lines).line_start(first + 1).path(&self.origin);
                title.element(snippet.annotation(place))
            };
            group = group.element(Level::HELP.message(&finding.hint));
            out.push_str(&renderer.render(&[group]));
            out.push('\n');
        }
        out
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(&Renderer::plain()))
    }
}
