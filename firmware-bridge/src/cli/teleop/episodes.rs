//! When an episode begins and ends: what the clock and the person at the leader say.

use std::io::{self, IsTerminal};
use std::time::Duration;

use anyhow::ensure;
use crossterm::event::{self, Event, KeyCode, KeyModifiers};
use crossterm::terminal::enable_raw_mode;

use crate::cli::screen::Raw;

/// How many episodes, and how long.
#[derive(Debug, Clone, clap::Args)]
pub struct EpisodesArgs {
    /// Episodes to record, one after the other.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub episodes: u32,
    /// End an episode after so long; without it, with a key, or with Ctrl-C.
    #[arg(long, value_name = "SECONDS")]
    pub seconds: Option<f64>,
    /// Time between two episodes to put things back, in which the leader leads and nothing is
    /// recorded; without it, until a key is pressed.
    #[arg(long, value_name = "SECONDS")]
    pub pause: Option<f64>,
}

impl EpisodesArgs {
    /// Whether they make sense; `keys` is whether there are any to press.
    pub(super) fn check(&self, keys: bool) -> anyhow::Result<()> {
        let positive = |value: Option<f64>| value.is_none_or(|secs| secs > 0.0);
        ensure!(self.episodes > 0, "--episodes must be at least 1");
        ensure!(positive(self.seconds), "--seconds must be above 0");
        ensure!(positive(self.pause), "--pause must be above 0");
        ensure!(
            keys || self.episodes == 1 || (self.seconds.is_some() && self.pause.is_some()),
            "--episodes without a terminal, whose keys end them: give --seconds and --pause too"
        );
        Ok(())
    }
}

/// What the person says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    /// This is over: an episode, or the time between two.
    Next,
    /// This episode was none: again.
    Again,
    /// That was the last one.
    Quit,
    /// The arm must stop at once.
    Estop,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// An episode begins.
    Begin,
    /// An episode ends, and is kept.
    Keep,
    /// An episode ends, and is not kept.
    Discard,
    /// There are no more.
    Finished,
}

/// Where we are among the episodes. Knows no clock and no keyboard.
#[derive(Debug)]
pub(super) struct Episodes {
    args: EpisodesArgs,
    kept: u32,
    recording: bool,
    since_secs: Option<f64>,
    quits: bool,
}

impl Episodes {
    pub(super) fn new(args: EpisodesArgs) -> Self {
        Self { args, kept: 0, recording: false, since_secs: None, quits: false }
    }

    /// Episodes that were kept.
    pub(super) fn kept(&self) -> u32 {
        self.kept
    }

    /// Whether an episode is being recorded.
    pub(super) fn is_recording(&self) -> bool {
        self.recording
    }

    /// What is to be done now, if anything.
    pub(super) fn turn(&mut self, now_secs: f64, key: Option<Key>) -> Option<Turn> {
        self.quits |= key == Some(Key::Quit);
        let Some(since_secs) = self.since_secs else {
            // The first begins as soon as the follower is where the leader is.
            return Some(self.begin(now_secs));
        };
        let elapsed = now_secs - since_secs;
        let over = |limit: Option<f64>| limit.is_some_and(|limit| elapsed >= limit);
        if !self.recording {
            if self.quits || self.kept >= self.args.episodes {
                return Some(Turn::Finished);
            }
            let next = key == Some(Key::Next) || over(self.args.pause);
            return next.then(|| self.begin(now_secs));
        }
        if key == Some(Key::Again) {
            self.recording = false;
            self.since_secs = Some(now_secs);
            return Some(Turn::Discard);
        }
        if self.quits || key == Some(Key::Next) || over(self.args.seconds) {
            self.recording = false;
            self.since_secs = Some(now_secs);
            self.kept += 1;
            return Some(Turn::Keep);
        }
        None
    }

    fn begin(&mut self, now_secs: f64) -> Turn {
        self.recording = true;
        self.since_secs = Some(now_secs);
        Turn::Begin
    }

    /// What has just been done, in words.
    pub(super) fn said(&self, turn: Turn) -> Option<String> {
        let (number, all) = (self.kept + 1, self.args.episodes);
        match turn {
            Turn::Begin => Some(format!("episode {number}/{all} begins")),
            Turn::Keep => Some(format!("episode {}/{all} is kept", self.kept)),
            Turn::Discard => Some(format!("episode {number}/{all} is not kept: again")),
            Turn::Finished => None,
        }
    }

    /// Where we are, and what may be pressed.
    pub(super) fn line(&self, now_secs: f64, steps: usize) -> String {
        let secs = now_secs - self.since_secs.unwrap_or(now_secs);
        if self.recording {
            let keys = "Enter: done   Backspace: again   q: last one   Space: emergency stop";
            format!("recording, {secs:>5.1} s, {steps} steps   {keys}")
        } else {
            format!("not recording, {secs:>5.1} s   Enter: begin   q: no more")
        }
    }
}

/// The keyboard, where there is one.
pub(super) struct Keys(Option<Raw>);

impl Keys {
    /// Whether there is one to take.
    pub(super) fn possible() -> bool {
        io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// Takes it.
    pub(super) fn open() -> io::Result<Self> {
        let possible = Self::possible();
        if possible {
            enable_raw_mode()?;
        }
        Ok(Self(possible.then_some(Raw)))
    }

    /// Whether it was taken.
    pub(super) fn exist(&self) -> bool {
        self.0.is_some()
    }

    /// What was pressed; does not wait.
    pub(super) fn pressed(&self) -> io::Result<Option<Key>> {
        if self.0.is_none() || !event::poll(Duration::ZERO)? {
            return Ok(None);
        }
        let Event::Key(key) = event::read()? else { return Ok(None) };
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        Ok(match key.code {
            KeyCode::Enter | KeyCode::Right => Some(Key::Next),
            KeyCode::Backspace | KeyCode::Left => Some(Key::Again),
            KeyCode::Char('c') if control => Some(Key::Quit),
            KeyCode::Char('q') | KeyCode::Esc => Some(Key::Quit),
            KeyCode::Char(' ') => Some(Key::Estop),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn episodes(episodes: u32, seconds: Option<f64>, pause: Option<f64>) -> Episodes {
        Episodes::new(EpisodesArgs { episodes, seconds, pause })
    }

    #[test]
    fn the_clock_alone_can_lead_through_a_session() {
        let mut session = episodes(2, Some(3.0), Some(1.0));
        assert_eq!(session.turn(10.0, None), Some(Turn::Begin));
        assert_eq!(session.turn(12.9, None), None);
        assert_eq!(session.turn(13.0, None), Some(Turn::Keep));
        assert_eq!(session.turn(13.9, None), None);
        assert_eq!(session.turn(14.0, None), Some(Turn::Begin));
        assert_eq!(session.turn(17.0, None), Some(Turn::Keep));
        assert_eq!(session.turn(17.1, None), Some(Turn::Finished));
    }

    #[test]
    fn keys_end_episodes_take_them_back_and_end_the_session() {
        let mut session = episodes(5, None, None);
        assert_eq!(session.turn(0.0, None), Some(Turn::Begin));
        assert_eq!(session.turn(99.0, None), None);
        assert_eq!(session.turn(99.0, Some(Key::Again)), Some(Turn::Discard));
        assert_eq!(session.turn(999.0, None), None);
        assert_eq!(session.turn(999.0, Some(Key::Again)), None, "there is nothing to take back");
        assert_eq!(session.turn(999.0, Some(Key::Next)), Some(Turn::Begin));
        assert_eq!(session.turn(999.5, Some(Key::Quit)), Some(Turn::Keep));
        assert_eq!(session.turn(999.6, None), Some(Turn::Finished));
        assert_eq!(session.kept(), 1);
    }

    #[test]
    fn without_a_terminal_the_clock_must_do_it() {
        let args = |episodes, seconds| EpisodesArgs { episodes, seconds, pause: None };
        assert!(args(1, None).check(false).is_ok(), "Ctrl-C ends the only one");
        assert!(args(2, None).check(true).is_ok());
        let error = args(2, Some(1.0)).check(false).unwrap_err().to_string();
        assert!(error.ends_with("give --seconds and --pause too"), "{error}");
        assert!(args(1, Some(0.0)).check(true).is_err());
    }
}
