//! What a person sees while something long runs: a bar in a terminal, plain lines elsewhere.

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Writes one line to stdout; fails as a pipe does.
pub(crate) fn say(line: impl Display) -> anyhow::Result<()> {
    writeln!(std::io::stdout().lock(), "{line}")?;
    Ok(())
}

/// Writes one line to stderr, where everything goes that is not the result.
#[allow(clippy::print_stderr)] // This is the place that prints.
pub(crate) fn note(line: impl Display) {
    eprintln!("{line}");
}

/// A bar of `total` steps. Where stderr is no terminal it writes a line every quarter.
pub(crate) struct Bar {
    drawn: ProgressBar,
    title: String,
    plain: Option<u64>,
}

impl Bar {
    /// Begins at zero.
    pub(crate) fn new(title: impl Into<String>, total: u64) -> Self {
        let title = title.into();
        let terminal = std::io::stderr().is_terminal();
        let target =
            if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let drawn = ProgressBar::with_draw_target(Some(total), target);
        let style = "{prefix:<28} {bar:32} {pos}/{len}  {elapsed}  eta {eta}  {msg}";
        if let Ok(style) = ProgressStyle::with_template(style) {
            drawn.set_style(style.progress_chars("━╸─"));
        }
        drawn.set_prefix(title.clone());
        if terminal {
            drawn.enable_steady_tick(Duration::from_millis(250));
        }
        Self { drawn, title, plain: (!terminal).then_some(0) }
    }

    /// Goes to `position`, with a word about it.
    pub(crate) fn set(&mut self, position: u64, message: &str) {
        self.drawn.set_position(position);
        self.drawn.set_message(message.to_owned());
        let total = self.drawn.length().unwrap_or(1).max(1);
        if let Some(said) = &mut self.plain {
            let quarter = position * 4 / total;
            if quarter > *said {
                *said = quarter;
                note(format_args!("{}: {position}/{total} {message}", self.title));
            }
        }
    }

    /// Goes to `done` of a total that was not known when the bar began.
    pub(crate) fn reach(&mut self, done: u64, total: u64) {
        self.drawn.set_length(total);
        self.set(done, "");
    }

    /// Does something that prints, with the bar out of the way.
    pub(crate) fn aside<R>(&self, print: impl FnOnce() -> R) -> R {
        self.drawn.suspend(print)
    }

    /// Clears the bar and leaves nothing.
    pub(crate) fn clear(self) {
        self.drawn.finish_and_clear();
    }

    /// Clears the bar and leaves one line.
    pub(crate) fn finish(self, message: &str) {
        self.drawn.finish_and_clear();
        note(format_args!("{}: {message}", self.title));
    }
}

/// A flag that Ctrl-C and SIGTERM raise; a second signal ends the process at once.
pub(crate) fn interrupt_flag() -> anyhow::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let raised = Arc::clone(&flag);
    ctrlc::set_handler(move || {
        if raised.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
    })?;
    Ok(flag)
}
