//! The machine that is measured on: its processor, its load, its matrix rate.

use std::collections::BTreeSet;
use std::time::Instant;

use burn::tensor::{Device, Distribution, Tensor};

/// The processor's name, as the kernel has it.
pub(crate) fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    model_name(&info).unwrap_or(std::env::consts::ARCH).to_owned()
}

fn model_name(info: &str) -> Option<&str> {
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim())
}

/// Processes that wanted a core over the last minute, on average.
pub(crate) fn load() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// Processor time since the system started, in its ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Of all cores, idle or not.
    all: u64,
    /// Of all cores while they worked, or another guest of the host had them.
    busy: u64,
    /// Of this process and all that it started.
    ours: u64,
}

impl Usage {
    /// Until now; `None` where the kernel does not say.
    pub(crate) fn now() -> Option<Self> {
        let (all, busy) = cores(&std::fs::read_to_string("/proc/stat").ok()?)?;
        let entries = std::fs::read_dir("/proc").ok()?.flatten();
        let stat = |entry: std::fs::DirEntry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            process(pid, &std::fs::read_to_string(entry.path().join("stat")).ok()?)
        };
        let processes: Vec<Process> = entries.filter_map(stat).collect();
        Some(Self { all, busy, ours: family(std::process::id(), &processes) })
    }

    /// The share of the machine's time that others took since then.
    pub(crate) fn elsewhere_since(self, then: Self) -> f64 {
        let since = |now: u64, then: u64| now.saturating_sub(then) as f64;
        let (busy, ours) = (since(self.busy, then.busy), since(self.ours, then.ours));
        ((busy - ours) / since(self.all, then.all).max(1.0)).clamp(0.0, 1.0)
    }
}

/// Ticks of all cores, and those in which they worked, from `/proc/stat`.
fn cores(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    // user, nice, system, idle, waiting for I/O, two kinds of interrupts, stolen; guests are in user
    let ticks: Vec<u64> = line.split_whitespace().take(8).map_while(|n| n.parse().ok()).collect();
    let [user, nice, system, idle, waiting, hard, soft, stolen] = ticks.try_into().ok()?;
    let busy = user + nice + system + hard + soft + stolen;
    Some((busy + idle + waiting, busy))
}

struct Process {
    pid: u32,
    parent: u32,
    /// Its own, and those of children that ended.
    ticks: u64,
}

/// A process from its `/proc/PID/stat`.
fn process(pid: u32, stat: &str) -> Option<Process> {
    // The name stands in parentheses and may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11..15)?.iter().map_while(|ticks| ticks.parse::<u64>().ok()).sum();
    Some(Process { pid, parent: fields.get(1)?.parse().ok()?, ticks })
}

/// Ticks of a process and its descendants.
fn family(root: u32, processes: &[Process]) -> u64 {
    let mut members = BTreeSet::from([root]);
    loop {
        let known = members.len();
        let children = processes.iter().filter(|p| members.contains(&p.parent)).map(|p| p.pid);
        members.extend(children.collect::<Vec<_>>());
        if members.len() == known {
            break;
        }
    }
    processes.iter().filter(|p| members.contains(&p.pid)).map(|p| p.ticks).sum()
}

/// The best rate of square `f32` products through Burn, on all threads of the pool.
pub(crate) fn matrix_gflops(device: &Device, quick: bool) -> anyhow::Result<f64> {
    let (sides, times): (&[usize], _) = if quick { (&[512], 3) } else { (&[512, 1024, 2048], 8) };
    let mut best: f64 = 0.0;
    for &side in sides {
        let matrix = || -> Tensor<2> {
            Tensor::random([side, side], Distribution::Uniform(-1.0, 1.0), device)
        };
        let (a, b) = (matrix(), matrix());
        for _ in 0..times {
            let start = Instant::now();
            let product = a.clone().matmul(b.clone());
            device.sync()?;
            let secs = start.elapsed().as_secs_f64();
            drop(product);
            best = best.max(2.0 * (side as f64).powi(3) / secs / 1e9);
        }
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_named() {
        let info = "processor\t: 0\nmodel name\t: AMD EPYC 9B14\nflags\t\t: fpu\n";
        assert_eq!(model_name(info), Some("AMD EPYC 9B14"));
        assert_eq!(model_name("processor : 0\n"), None);
    }

    #[test]
    fn time_of_others_is_what_is_neither_idle_nor_ours() {
        let stat = "cpu  100 5 20 800 50 1 2 22 9 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        assert_eq!(cores(stat), Some((1000, 150)));
        let then = Usage { all: 1000, busy: 150, ours: 40 };
        let now = Usage { all: 1200, busy: 250, ours: 80 };
        assert_eq!(now.elsewhere_since(then), 0.3);
        assert_eq!(then.elsewhere_since(then), 0.0);
    }

    #[test]
    fn a_family_is_a_process_and_all_that_it_started() {
        let stat = "7 (a) b) S 3 7 7 0 -1 4194304 1 2 3 4 10 20 30 40 20 0 1 0 99";
        let found = process(7, stat).unwrap();
        assert_eq!((found.parent, found.ticks), (3, 100));
        let process = |pid, parent, ticks| Process { pid, parent, ticks };
        let all = [process(9, 7, 1), process(7, 3, 10), process(3, 1, 100), process(4, 1, 1000)];
        assert_eq!(family(3, &all), 111);
        assert_eq!(family(7, &all), 11);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_kernel_says_how_much_time_went() {
        let usage = Usage::now().unwrap();
        assert!(usage.all >= usage.busy && usage.busy >= usage.ours, "{usage:?}");
    }

    #[test]
    fn a_matrix_product_has_a_rate() {
        assert!(matrix_gflops(&Device::flex(), true).unwrap() > 0.0);
    }
}
