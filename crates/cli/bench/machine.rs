//! The machine that is measured on: its processor, its load, its matrix rate.

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
    fn a_matrix_product_has_a_rate() {
        assert!(matrix_gflops(&Device::flex(), true).unwrap() > 0.0);
    }
}
