//! What SIPp tells: its statistics file and its exit code.

use serde::Serialize;

/// A row of SIPp's statistics (`-trace_stat`), counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Calls that ended well.
    pub successful: u64,
    /// Calls that did not.
    pub failed: u64,
    /// Messages that were sent again.
    pub retransmissions: u64,
}

/// The last whole row of a statistics file; `None`: there is none yet.
pub fn counts(csv: &str) -> Option<Counts> {
    let mut lines = csv.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    let names: Vec<&str> = lines.next()?.split(';').collect();
    let values: Vec<&str> = lines.next_back()?.split(';').collect();
    let value = |name: &str| {
        let column = names.iter().position(|known| *known == name)?;
        values.get(column)?.parse().ok()
    };
    Some(Counts {
        successful: value("SuccessfulCall(C)")?,
        failed: value("FailedCall(C)")?,
        retransmissions: value("Retransmissions(C)")?,
    })
}

/// How SIPp ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// By itself, with this exit code.
    Exit(u8),
    /// By this signal.
    Signal(i32),
    /// It waited for calls that were not to come, and was told to stop.
    Stopped,
}

impl End {
    /// Of a process.
    pub fn of(status: std::process::ExitStatus) -> Self {
        use std::os::unix::process::ExitStatusExt as _;
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Exit(u8::try_from(code).unwrap_or(u8::MAX)),
            (None, signal) => Self::Signal(signal.unwrap_or_default()),
        }
    }

    /// The exit code that a shell would see; of one that was told to stop, that a call failed.
    pub fn code(self) -> u8 {
        match self {
            Self::Exit(code) => code,
            Self::Signal(signal) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
            Self::Stopped => 1,
        }
    }

    /// What that means: SIPp's documentation, "Exit codes".
    pub fn words(self) -> String {
        match self {
            Self::Exit(0) => "all calls were successful".into(),
            Self::Exit(1) => "at least one call failed".into(),
            Self::Exit(97) => "it stopped on an internal command or its time was over".into(),
            Self::Exit(99) => "it ended without having processed a call".into(),
            Self::Exit(253) => "its real-time part failed".into(),
            Self::Exit(254) => "it could not bind its socket, or could not connect".into(),
            Self::Exit(255) => "a fatal error".into(),
            Self::Exit(code) => format!("exit code {code}, which SIPp does not document"),
            Self::Signal(signal) => format!("signal {signal} ended it"),
            Self::Stopped => "calls that it waited for did not come".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Columns of SIPp 3.6.1, the ones between left out.
    const HEAD: &str = "StartTime;CurrentTime;TotalCallCreated;CurrentCall;SuccessfulCall(P);SuccessfulCall(C);\
                        FailedCall(P);FailedCall(C);Retransmissions(P);Retransmissions(C);CallLength(C);\n";

    #[test]
    fn the_last_whole_row_counts() {
        let row = |good, bad, again| {
            format!(
                "2026-11-28\t03:27:43\t17.2;2026-11-28\t03:27:44\t18.2;20;2;1;{good};0;{bad};0;{again};00:00:00:2000;\n"
            )
        };
        let csv = format!("{HEAD}{}{}", row(7, 0, 1), row(9, 2, 3));
        let last = Some(Counts { successful: 9, failed: 2, retransmissions: 3 });
        assert_eq!(counts(&csv), last);
        // What is still being written is no row.
        assert_eq!(counts(&format!("{csv}2026-11-28\t03:27:45;20;1")), last);
    }

    #[test]
    fn without_a_row_or_a_column_there_are_no_counts() {
        assert_eq!(counts(""), None);
        assert_eq!(counts(HEAD), None);
        assert_eq!(counts("SuccessfulCall(C);FailedCall(C);\n1;2;\n"), None);
    }

    #[test]
    fn exit_codes_say_what_sipp_documents() {
        let words = [0, 1, 97, 99, 254, 255, 7].map(|code| End::Exit(code).words());
        for (words, part) in words.iter().zip([
            "all calls",
            "one call failed",
            "internal command",
            "without having",
            "bind",
            "fatal",
            "exit code 7",
        ]) {
            assert!(words.contains(part), "{words}");
        }
        assert_eq!((End::Exit(99).code(), End::Signal(9).code(), End::Stopped.code()), (99, 137, 1));
    }

    #[test]
    fn how_a_process_ended_is_told_apart() {
        use std::process::Command;
        let ended = |script| End::of(Command::new("sh").args(["-c", script]).status().unwrap());
        assert_eq!(ended("exit 97"), End::Exit(97));
        assert_eq!(ended("kill -9 $$"), End::Signal(9));
    }
}
