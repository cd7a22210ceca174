//! Peak memory: a process of its own does the work, and says what it took.

use std::process::Command;

use anyhow::{Context, bail, ensure};
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::Settings;
use super::cases::{Case, Kind, all};
use super::ours::{self, Ready};
use crate::progress::say;

/// What the process says.
#[derive(Serialize, Deserialize)]
struct Peak {
    shape: Vec<usize>,
    params: Option<usize>,
    bytes: u64,
}

/// Runs the process once; each sample runs it again.
pub(crate) fn prepare(case: &Case, settings: &Settings) -> anyhow::Result<Ready<'static>> {
    let program = std::env::current_exe().context("cannot find engraft itself")?;
    let words = ["bench".into(), "--child".into(), case.name(), "--threads".into()];
    let threads = settings.threads.to_string();
    let run = move || -> anyhow::Result<Peak> {
        let output = Command::new(&program).args(&words).arg(&threads).output()?;
        if !output.status.success() {
            bail!("the process failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        serde_json::from_slice(&output.stdout).context("expected JSON from the process")
    };
    let Peak { shape, params, .. } = run()?;
    Ok(Ready { sample: Box::new(move |_| Ok(run()?.bytes as f64)), shape, params })
}

/// The process: does what is inside the memory case of that name and prints its peak.
pub(crate) fn child(name: &str, settings: &Settings, device: &Device) -> anyhow::Result<()> {
    let case = all().into_iter().find(|case| case.name() == name);
    let Some(Case { kind: Kind::Memory(inside), .. }) = case else {
        bail!("expected the name of a memory case, found {name:?}");
    };
    let mut ready = ours::prepare(&inside, settings, device)?;
    (ready.sample)(inside.iterations_for_memory())?;
    let peak = Peak { shape: ready.shape, params: ready.params, bytes: peak_bytes()? };
    say(serde_json::to_string(&peak)?)
}

/// The most memory that this process has had resident.
fn peak_bytes() -> anyhow::Result<u64> {
    let path = "/proc/self/status";
    let status = std::fs::read_to_string(path)
        .with_context(|| format!("peak memory is measured on Linux alone (path: {path})"))?;
    let kilobytes = parse_peak(&status).with_context(|| format!("no `VmHWM` in {path}"))?;
    ensure!(kilobytes > 0, "`VmHWM` in {path} is 0");
    Ok(kilobytes * 1024)
}

fn parse_peak(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_read_from_the_kernels_words() {
        assert_eq!(parse_peak("Name:\tx\nVmHWM:\t   1234 kB\nVmRSS:\t 9 kB\n"), Some(1234));
        assert_eq!(parse_peak("VmRSS:\t 9 kB\n"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_has_a_peak_that_grows_with_what_it_holds() {
        let before = peak_bytes().unwrap();
        let held = vec![1_u8; 64 << 20];
        assert!(held.iter().map(|&byte| usize::from(byte)).sum::<usize>() == 64 << 20);
        assert!(peak_bytes().unwrap() >= before.max(64 << 20));
    }
}
