//! Progress: bars on a terminal, lines elsewhere.

use super::output::note;
use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};
use std::fmt::{Arguments, Write};
use std::io::{IsTerminal, stderr};
use std::time::Duration;

/// Where progress is shown.
pub struct Screen {
    /// None where there is no terminal, or one that can only print lines.
    bars: Option<MultiProgress>,
}

/// A bar; nothing where there are none.
pub struct Bar(Option<ProgressBar>);

impl Screen {
    pub fn new() -> Self {
        // Consoles of Windows have no such variable.
        let dumb = std::env::var_os("TERM").map_or(cfg!(unix), |term| term.is_empty() || term == "dumb");
        let bars = (stderr().is_terminal() && !dumb).then(MultiProgress::new);
        Self { bars: bars.filter(|bars| !bars.is_hidden()) }
    }

    /// Whether there are bars. Where there are none, a program tells by [`Screen::note`] how far it is.
    pub fn has_bars(&self) -> bool {
        self.bars.is_some()
    }

    /// Adds a bar of so many steps below the others.
    pub fn bar(&self, steps: u64, template: &str, prefix: impl Into<String>) -> Bar {
        Bar(self.bars.as_ref().map(|bars| {
            let style = ProgressStyle::with_template(template).expect("a valid template");
            let style = style.with_key("rate", |state: &ProgressState, w: &mut dyn Write| {
                let _ = write!(w, "{:>7.0}/s", state.per_sec());
            });
            bars.add(ProgressBar::new(steps).with_style(style)).with_prefix(prefix.into())
        }))
    }

    /// A line, above the bars if there are any.
    pub fn note(&self, line: Arguments<'_>) {
        match &self.bars {
            // A terminal that is gone is no reason to stop.
            Some(bars) => drop(bars.println(line.to_string())),
            None => note(line),
        }
    }
}

impl Bar {
    /// So many steps are done.
    pub fn advance(&self, steps: u64) {
        if let Some(bar) = &self.0 {
            bar.inc(steps);
        }
    }

    /// Where it is, of how much.
    pub fn set(&self, done: u64, all: u64) {
        if let Some(bar) = &self.0 {
            bar.set_length(all);
            bar.set_position(done.min(all));
        }
    }

    /// The steps so far took no time: they were done before.
    pub fn begin(&self) {
        if let Some(bar) = &self.0 {
            bar.reset_eta();
        }
    }

    pub fn message(&self, text: impl FnOnce() -> String) {
        if let Some(bar) = &self.0 {
            bar.set_message(text());
        }
    }

    /// It is over, and stays.
    pub fn keep(self) {
        if let Some(bar) = self.0 {
            bar.abandon();
        }
    }

    /// It is over, and goes.
    pub fn clear(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// The time that the rest takes at the speed so far, for `done` of `all`: as long as there can be, if need be.
pub fn left(elapsed: Duration, done: f64, all: f64) -> Duration {
    let rest = elapsed.as_secs_f64() * ((all - done).max(0.0) / done.max(f64::MIN_POSITIVE));
    Duration::try_from_secs_f64(rest).unwrap_or(Duration::MAX)
}

/// A time for people.
pub fn brief(time: Duration) -> String {
    let seconds = time.as_secs_f64().round();
    match seconds {
        ..120.0 => format!("{seconds} s"),
        ..7200.0 => format!("{:.0} min", seconds / 60.0),
        ..172_800.0 => format!("{:.1} h", seconds / 3600.0),
        ..31_536_000.0 => format!("{:.1} days", seconds / 86_400.0),
        _ => "years".to_owned(),
    }
}
