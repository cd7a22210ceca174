//! Threads that help with one piece of work at a time.
//!
//! A network is a long row of short pieces of work. To wake a thread for each takes longer than
//! many of them, so helpers stay awake for a moment after each piece; and whoever brings work
//! begins with it at once, takes what no helper has taken yet, and never waits for one that is
//! still asleep. Who comes while the helpers are busy with somebody else's work does all of his.

use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// How long a helper without work stays awake: longer than what lies between two layers.
const AWAKE: Duration = Duration::from_micros(100);

/// Looks at a flag between two looks at the clock.
const LOOKS: usize = 64;

/// A value on lines of the cache that nothing else is on.
#[repr(align(128))]
struct Apart<T>(T);

/// What is to be done: `run` for every task.
#[derive(Clone, Copy)]
struct Work {
    run: *const (dyn Fn(usize) + Sync),
    tasks: usize,
}

/// A thread that helps.
struct Helper {
    thread: OnceLock<Thread>,
    is_asleep: AtomicBool,
}

/// Threads, and the work that they share with whoever brought it.
pub(crate) struct Workers {
    /// Held by whoever brought the work.
    bringing: Mutex<()>,
    /// Odd while there is work.
    round: Apart<AtomicUsize>,
    /// Helpers that may be at the work of this round.
    inside: Apart<AtomicUsize>,
    /// Written between rounds, when nobody is inside.
    work: UnsafeCell<Work>,
    /// The next task of each thread's share: neighbours are done by the same thread, which has in
    /// its cache what they have in common. Who is done with his share takes from others'.
    next: Vec<Apart<AtomicUsize>>,
    helpers: Vec<Helper>,
    /// What a helper panicked with.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

// SAFETY: `work` is written by whoever holds `bringing`, while the round is even and nobody is
// inside; helpers read it only while they are inside and the round is odd. What it points to may be
// shared and outlives the round.
unsafe impl Sync for Workers {}
// SAFETY: as above.
unsafe impl Send for Workers {}

/// The threads of this process: as many as rayon has, with the one that brings the work.
pub(crate) fn workers() -> &'static Workers {
    static WORKERS: OnceLock<&'static Workers> = OnceLock::new();
    WORKERS.get_or_init(|| Workers::start(rayon::current_num_threads()))
}

impl Workers {
    /// Starts all threads but one. They last as long as the process.
    fn start(threads: usize) -> &'static Self {
        let nothing = Work { run: &|_| (), tasks: 0 };
        let workers: &'static Self = Box::leak(Box::new(Self {
            bringing: Mutex::new(()),
            round: Apart(AtomicUsize::new(0)),
            inside: Apart(AtomicUsize::new(0)),
            work: UnsafeCell::new(nothing),
            next: (0..threads.max(1)).map(|_| Apart(AtomicUsize::new(0))).collect(),
            helpers: (1..threads).map(|_| Helper::new()).collect(),
            panic: Mutex::new(None),
        }));
        for (index, helper) in workers.helpers.iter().enumerate() {
            let name = format!("kernels-{}", index + 1);
            let run = move || workers.help(helper, index + 1);
            // One that cannot be started helps nobody, and nobody waits for it.
            if let Ok(handle) = std::thread::Builder::new().name(name).spawn(run) {
                let _ = helper.thread.set(handle.thread().clone());
            }
        }
        workers
    }

    /// Runs every task from 0 to `tasks`, each once, and returns when all are done. A panic of one
    /// goes on here.
    pub(crate) fn share(&self, tasks: usize, run: &(dyn Fn(usize) + Sync)) {
        let bringing = match self.bringing.try_lock() {
            Ok(bringing) => bringing,
            // A task that panicked took nothing with it.
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return (0..tasks).for_each(run),
        };
        for (share, next) in self.next.iter().enumerate() {
            next.0.store(self.first(share, tasks), Ordering::Relaxed);
        }
        let run: *const (dyn Fn(usize) + Sync + '_) = run;
        // SAFETY: only the lifetime is changed, and `Round` ends the round before `run` goes.
        let run: *const (dyn Fn(usize) + Sync) = unsafe { std::mem::transmute(run) };
        // SAFETY: this thread holds `bringing`, the round is even and nobody is inside.
        unsafe { *self.work.get() = Work { run, tasks } };
        let round = Round::begin(self, bringing);
        for helper in self.helpers.iter().take(tasks.saturating_sub(1)) {
            helper.wake();
        }
        // SAFETY: the work of this round, which lasts as long as `round`.
        unsafe { self.take_tasks(0, Work { run, tasks }) };
        drop(round);
        let panic = self.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    /// The first task of a thread's share.
    fn first(&self, share: usize, tasks: usize) -> usize {
        tasks * share / self.next.len()
    }

    /// Runs tasks of `share`, then of the others, until none is left.
    ///
    /// # Safety
    ///
    /// `work.run` must be there until this returns.
    unsafe fn take_tasks(&self, share: usize, work: Work) {
        let shares = self.next.len();
        for share in (share..shares).chain(0..share) {
            let end = self.first(share + 1, work.tasks);
            loop {
                let task = self.next[share].0.fetch_add(1, Ordering::Relaxed);
                if task >= end {
                    break;
                }
                // SAFETY: the caller vouches for it.
                unsafe { (*work.run)(task) };
            }
        }
    }

    /// What a helper does all its life.
    fn help(&self, helper: &Helper, share: usize) {
        let mut last = 0;
        loop {
            let round = helper.wait(|| {
                let round = self.round.0.load(Ordering::SeqCst);
                (round % 2 == 1 && round != last).then_some(round)
            });
            self.inside.0.fetch_add(1, Ordering::SeqCst);
            // Either this sees that the round has ended, or whoever ends it sees this one inside.
            if self.round.0.load(Ordering::SeqCst) == round {
                // SAFETY: the round is odd and this thread is inside.
                let work = unsafe { *self.work.get() };
                // SAFETY: the round does not end before this thread is out.
                let run = || unsafe { self.take_tasks(share, work) };
                if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
                    *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
                }
            }
            self.inside.0.fetch_sub(1, Ordering::SeqCst);
            last = round;
        }
    }
}

impl Helper {
    fn new() -> Self {
        Self { thread: OnceLock::new(), is_asleep: AtomicBool::new(false) }
    }

    fn wake(&self) {
        if self.is_asleep.swap(false, Ordering::SeqCst)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    /// Waits for `ready`, asleep if it takes long.
    fn wait(&self, ready: impl Fn() -> Option<usize>) -> usize {
        loop {
            let began = Instant::now();
            while began.elapsed() < AWAKE {
                for _ in 0..LOOKS {
                    if let Some(round) = ready() {
                        return round;
                    }
                    std::hint::spin_loop();
                }
            }
            self.is_asleep.store(true, Ordering::SeqCst);
            // Whoever began a round before this one said that it sleeps did not wake it.
            if let Some(round) = ready() {
                self.is_asleep.store(false, Ordering::SeqCst);
                return round;
            }
            std::thread::park();
            self.is_asleep.store(false, Ordering::SeqCst);
        }
    }
}

/// While it lives there is work; when it goes nobody is at it any more, even if a task panicked.
struct Round<'a> {
    workers: &'a Workers,
    _bringing: MutexGuard<'a, ()>,
}

impl<'a> Round<'a> {
    fn begin(workers: &'a Workers, bringing: MutexGuard<'a, ()>) -> Self {
        workers.round.0.fetch_add(1, Ordering::SeqCst);
        Self { workers, _bringing: bringing }
    }
}

impl Drop for Round<'_> {
    fn drop(&mut self) {
        // After a panic there may be tasks left, which nobody is to begin any more.
        if std::thread::panicking() {
            for next in &self.workers.next {
                next.0.store(usize::MAX / 2, Ordering::Relaxed);
            }
        }
        self.workers.round.0.fetch_add(1, Ordering::SeqCst);
        let mut looks = 0;
        while self.workers.inside.0.load(Ordering::SeqCst) != 0 {
            looks += 1;
            // A helper may have lost its processor to somebody, perhaps to this thread.
            if looks % 1024 == 0 { std::thread::yield_now() } else { std::hint::spin_loop() }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_task_runs_once_whoever_brings_it() {
        let workers = Workers::start(4);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for round in 0..2000 {
                        let tasks = round % 23;
                        let runs: Vec<_> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                        workers.share(tasks, &|task| {
                            runs[task].fetch_add(1, Ordering::Relaxed);
                        });
                        assert!(runs.iter().all(|runs| runs.load(Ordering::Relaxed) == 1));
                    }
                });
            }
        });
    }

    #[test]
    fn helpers_help_even_after_they_slept() {
        let workers = Workers::start(3);
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(5));
            let who = Mutex::new(HashSet::new());
            workers.share(3, &|_| {
                who.lock().unwrap().insert(std::thread::current().id());
                // Until all have come: whoever is here cannot take another one's task.
                while who.lock().unwrap().len() < 3 {
                    std::thread::yield_now();
                }
            });
        }
    }

    #[test]
    fn work_inside_work_is_done_by_whoever_brings_it() {
        let workers = Workers::start(2);
        let runs = AtomicUsize::new(0);
        let count = |_| _ = runs.fetch_add(1, Ordering::Relaxed);
        workers.share(4, &|_| workers.share(5, &count));
        assert_eq!(runs.into_inner(), 20);
    }

    #[test]
    fn a_panic_goes_on_where_the_work_came_from_and_harms_nobody_after() {
        let workers = Workers::start(2);
        for culprit in 0..8 {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                workers.share(8, &|task| assert_ne!(task, culprit, "one of them"));
            }));
            assert!(caught.is_err(), "task {culprit}");
            let runs = AtomicUsize::new(0);
            workers.share(8, &|_| _ = runs.fetch_add(1, Ordering::Relaxed));
            assert_eq!(runs.into_inner(), 8);
        }
    }
}
