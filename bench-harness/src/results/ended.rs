//! What a report says first of a run that did not come to its end.

use super::model::{Part, Results};

/// Nothing, where all went on to its end.
pub fn text(results: &Results) -> String {
    let early = results.ended_early.iter().map(|early| told(&format!("This run {early}")));
    let died = results.died.iter().map(|(name, why)| told(&format!("{name} died: {why}")));
    early.chain(died).collect()
}

/// The first line as what matters, further ones as they are.
fn told(words: &str) -> String {
    match words.trim_end().split_once('\n') {
        None => format!("**{}**\n\n", words.trim_end()),
        Some((first, log)) => format!("**{first}**\n\n```text\n{log}\n```\n\n"),
    }
}

/// Whether a part met its conditions, or what kept it from that, in a row of a table.
pub fn verdict(part: &Part) -> String {
    match part.why.as_deref().and_then(|why| why.lines().next()) {
        _ if part.passed => "met".to_owned(),
        Some(why) => format!("**not met**: {}", why.replace('|', "\\|")),
        None => "**not met**".to_owned(),
    }
}
