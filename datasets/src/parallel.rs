//! Work on every core, told to one listener.

use std::sync::mpsc;
use std::thread;

use rayon::prelude::*;

/// Does `work` for each of `count` numbers, on every core; `progress` hears how many are done, on
/// the calling thread.
pub(crate) fn in_parallel<T: Send>(
    count: usize,
    work: impl Fn(usize) -> T + Sync,
    progress: &mut dyn FnMut(u64),
) -> Vec<T> {
    let (sender, receiver) = mpsc::channel();
    let mut all: Vec<(usize, T)> = Vec::with_capacity(count);
    thread::scope(|scope| {
        scope.spawn(|| {
            (0..count).into_par_iter().for_each_with(sender, |sender, at| {
                // The listener leaves only when all senders have left.
                let _ = sender.send((at, work(at)));
            });
        });
        for done in receiver {
            all.push(done);
            progress(all.len() as u64);
        }
    });
    all.sort_by_key(|(at, _)| *at);
    all.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_stand_in_order_and_each_is_told_once() {
        let mut told = Vec::new();
        let squares = in_parallel(50, |at| at * at, &mut |done| told.push(done));
        assert_eq!(squares, (0..50).map(|at| at * at).collect::<Vec<_>>());
        assert_eq!(told, (1..=50).collect::<Vec<u64>>());
        assert!(in_parallel(0, |at| at, &mut |_| {}).is_empty());
    }
}
