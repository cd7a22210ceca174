//! What the tests of the command share: a folder of their own, and the program in it.

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

/// A fresh folder, and `engraft` run inside it.
pub(crate) struct Lab {
    folder: TempDir,
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self { folder: TempDir::new().unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).unwrap();
    }

    /// The program with these words, ready to run in the folder.
    pub(crate) fn command(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_engraft"));
        command.args(words.split_whitespace()).current_dir(self.path());
        command
    }

    /// Runs it to its end.
    pub(crate) fn run(&self, words: &str) -> Output {
        self.command(words).output().unwrap()
    }

    /// Runs it; it must succeed. Gives its stdout.
    pub(crate) fn succeed(&self, words: &str) -> String {
        let output = self.run(words);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "engraft {words}: {}\n{error}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs it; it must fail with code 2 and one line on stderr, which is given.
    pub(crate) fn fail(&self, words: &str) -> String {
        let output = self.run(words);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "engraft {words}: {error}");
        assert_eq!(error.trim_end().lines().count(), 1, "engraft {words}:\n{error}");
        assert!(error.starts_with("engraft: "), "engraft {words}: {error}");
        error
    }

    /// Records a few demonstrations into `data`.
    pub(crate) fn record(&self, episodes: usize) {
        self.succeed(&format!("record --sim drawer --episodes {episodes} --size 48 --out data"));
    }
}

/// A policy so small that a step takes milliseconds.
pub(crate) const RECIPE: &str = r#"
seed = 3
num_frames = 2
horizon = 4
use_proprio = true
use_depth = false
relative_actions = true
past_end = "mask"
loss = "l1"
val_fraction = 0.3
steps = 240
epoch_steps = 20
batch_size = 8
[optimizer]
kind = "adamw"
learning_rate = 1e-3
weight_decay = 1e-4
[schedule]
kind = "cosine"
warmup = 5
warmup_share = 0.1
final_share = 0.1
[clip]
norm = 0.5
of = "head"
[ema]
decay = 0.9
[augment]
probability = 0.8
shift_pixels = 3
[policy]
kind = "hansen"
layers = [{ channels = 4, kernel = 3, stride = 4 }, { channels = 4, kernel = 3, stride = 2 }]
[policy.head]
hidden = [16]
"#;
