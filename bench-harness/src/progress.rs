//! Progress: bars on a terminal; elsewhere a line now and then.

use std::fmt;
use std::io::{self, IsTerminal as _};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle, TermLike};

use crate::output::tell;

/// How often a line is told where there is no terminal.
const EVERY: Duration = Duration::from_secs(10);

/// A bar of so many of something.
pub fn bar(length: u64, what: &'static str) -> ProgressBar {
    drawn(length, what, "{pos}/{len}")
}

/// A bar of planned time, in milliseconds: for work of which one step takes much longer than another.
pub fn planned(what: &'static str) -> ProgressBar {
    drawn(0, what, "{percent}%")
}

fn drawn(length: u64, what: &'static str, done: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(length), target()).with_message(what);
    let template = match io::stderr().is_terminal() {
        true => format!("{{msg:12}} {{bar:40}} {done}  {{elapsed}}{{left}}"),
        false => format!("{done}, {{elapsed}} gone{{left}}: {{msg}}"),
    };
    let style = ProgressStyle::with_template(&template);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).with_key("left", left));
    bar
}

/// What is left to do, in minutes and seconds, as soon as something is done.
fn left(state: &ProgressState, out: &mut dyn fmt::Write) {
    if let Some(left) = remaining(state.elapsed(), state.pos(), state.len().unwrap_or_default()) {
        // Where it cannot be written nobody sees it.
        let _ = write!(out, ", about {} left", minutes(left.as_secs()));
    }
}

/// What the rest takes if it goes on as on the whole until now. By what came last, as indicatif has it, one long step makes years.
fn remaining(elapsed: Duration, done: u64, all: u64) -> Option<Duration> {
    (done > 0).then(|| elapsed.mul_f64(all.saturating_sub(done) as f64 / done as f64))
}

/// A spinner for work of unknown length.
pub fn spinner(what: &'static str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, target()).with_message(what);
    if !io::stderr().is_terminal()
        && let Ok(style) = ProgressStyle::with_template("{elapsed} gone: {msg}")
    {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// As minutes and seconds.
pub fn minutes(seconds: u64) -> String {
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

fn target() -> ProgressDrawTarget {
    if io::stderr().is_terminal() {
        return ProgressDrawTarget::stderr();
    }
    let lines = Lines {
        every: EVERY,
        tell: |line| tell!("{line}"),
        drawn: Mutex::new((Instant::now(), String::new())),
    };
    ProgressDrawTarget::term_like_with_hz(Box::new(lines), 5)
}

/// What a bar draws on where nothing can be drawn over: most of it is left out.
#[derive(Debug)]
struct Lines {
    every: Duration,
    tell: fn(&str),
    /// When a line was told last, and what is drawn since.
    drawn: Mutex<(Instant, String)>,
}

impl Lines {
    fn draw(&self, text: &str) -> io::Result<()> {
        self.drawn.lock().unwrap_or_else(PoisonError::into_inner).1.push_str(text);
        Ok(())
    }
}

impl TermLike for Lines {
    fn width(&self) -> u16 {
        200
    }

    fn move_cursor_up(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.draw(text)
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.draw(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let mut drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, text) = &mut *drawn;
        let line = std::mem::take(text);
        let line = line.trim();
        if !line.is_empty() && last.elapsed() >= self.every {
            *last = Instant::now();
            (self.tell)(line);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_goes_by_all_that_is_done() {
        let s = Duration::from_secs;
        assert_eq!(remaining(s(10), 1, 4), Some(s(30)));
        assert_eq!(remaining(s(90), 1, 4), Some(s(270)));
        assert_eq!(remaining(s(100), 5, 4), Some(s(0)));
        assert_eq!(remaining(s(10), 0, 4), None);
    }

    static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());

    #[test]
    fn where_there_is_no_terminal_a_line_is_told_now_and_then() {
        let every = Duration::from_millis(300);
        let tell = |line: &str| TOLD.lock().unwrap().push(line.to_owned());
        let lines = Lines { every, tell, drawn: Mutex::new((Instant::now(), String::new())) };
        let bar = ProgressBar::with_draw_target(Some(30), ProgressDrawTarget::term_like(Box::new(lines)));
        bar.set_style(ProgressStyle::with_template("{pos}/{len}: {msg}").unwrap());
        for number in 0..20 {
            bar.set_message(format!("window {number}"));
            bar.inc(1);
            std::thread::sleep(Duration::from_millis(50));
        }
        bar.finish_and_clear();
        let told = TOLD.lock().unwrap();
        assert!((1..=4).contains(&told.len()), "{told:?}");
        assert!(
            told.iter().all(|line| line.contains("/30: window ") && !line.contains('\u{1b}')),
            "{told:?}"
        );
    }
}
