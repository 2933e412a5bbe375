//! What a report says first of a run that did not come to its end.

use super::model::{Part, Results};

/// Nothing, where all went on to its end.
pub fn text(results: &Results) -> String {
    let early =
        results.ended_early.iter().map(|early| format!("**This run {}**\n\n", early.to_string().trim_end()));
    let died = results.died.iter().map(|(name, said)| format!("**{name} died**: {}\n\n", said.trim_end()));
    early.chain(died).collect()
}

/// Whether a part met its conditions, or what kept it from that, in a row of a table.
pub fn verdict(part: &Part) -> String {
    match part.why.as_deref().and_then(|why| why.lines().next()) {
        _ if part.passed => "met".to_owned(),
        Some(why) => format!("**not met**: {}", why.replace('|', "\\|")),
        None => "**not met**".to_owned(),
    }
}
