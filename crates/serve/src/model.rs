//! The model thread: one job after the other, or several at once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use engraft_core::{DepthImage, Dimension, Observation, RgbImage, View, ViewSpec};
use engraft_wire::{Contract, ErrorCode, Model, Timings};

use crate::check::{self, Objection};
use crate::predictor::{PredictError, Prediction, Predictor};
use crate::room::{Job, Room, Work};

/// A chunk, and how it came about.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) prediction: Prediction,
    pub(crate) timings: Timings,
    /// The model that gave it.
    pub(crate) model: Arc<Model>,
}

/// What became of a job.
pub(crate) type Outcome = Result<Answered, Objection>;

/// Works until the room is closed and empty, on up to `batch` jobs at once; `answer` is told what
/// becomes of each, `swapped` when another model begins to answer, `rest` when nothing waits.
///
/// # Errors
///
/// The first of what it tells.
pub(crate) fn work<E>(
    mut predictor: Box<dyn Predictor>,
    contract: &Contract,
    room: &Room,
    batch: usize,
    answer: impl Fn(Job, Outcome) -> Result<(), E>,
    swapped: impl Fn(Arc<Model>) -> Result<(), E>,
    rest: impl Fn() -> Result<(), E>,
) -> Result<(), E> {
    let mut model = Arc::new(predictor.model());
    while let Some(work) = room.next(batch) {
        match work {
            Work::Rest => rest()?,
            Work::Swap(next) => {
                model = Arc::new(next.model());
                predictor = next;
                swapped(model.clone())?;
            }
            Work::Jobs(jobs) if jobs.len() > 1 => {
                let outcomes = predict_many(&mut *predictor, contract, &model, &jobs);
                for (job, outcome) in jobs.into_iter().zip(outcomes) {
                    answer(job, outcome)?;
                }
            }
            Work::Jobs(jobs) => {
                for job in jobs {
                    let outcome = predict(&mut *predictor, contract, &model, &job);
                    answer(job, outcome)?;
                }
            }
        }
    }
    Ok(())
}

/// Answers several jobs at once, or each by itself where they do not go together or one fails.
fn predict_many(
    predictor: &mut dyn Predictor,
    contract: &Contract,
    model: &Arc<Model>,
    jobs: &[Job],
) -> Vec<Outcome> {
    let began = Instant::now();
    let attention = jobs.iter().any(|job| job.infer.attention);
    let fit = |job: &Job| {
        in_time(job, began).is_ok() && check::finite(contract, &job.infer.stack).is_ok()
    };
    if !attention && jobs.iter().all(fit) {
        let checked = began.elapsed();
        let stacks: Vec<&[Observation]> = jobs.iter().map(|job| &job.infer.stack[..]).collect();
        let predicted = catch_unwind(AssertUnwindSafe(|| predictor.predict_many(&stacks, false)));
        let infer = began.elapsed().saturating_sub(checked);
        if let Ok(Ok(predictions)) = predicted
            && predictions.len() == jobs.len()
            && predictions.iter().all(|one| check::prediction(contract, one).is_ok())
        {
            let timed = |(job, prediction): (&Job, Prediction)| {
                let timings = timings(job, began, checked, infer, &prediction);
                Ok(Answered { prediction, timings, model: model.clone() })
            };
            return jobs.iter().zip(predictions).map(timed).collect();
        }
    }
    jobs.iter().map(|job| predict(predictor, contract, model, job)).collect()
}

/// Whether the model may still begin with a job.
fn in_time(job: &Job, now: Instant) -> Result<(), Objection> {
    let waited = now.saturating_duration_since(job.since);
    let deadline = Duration::from_millis(job.infer.deadline_millis.into());
    if !deadline.is_zero() && waited > deadline {
        let detail = format!("waited {waited:.0?} for the model, expected at most {deadline:?}");
        return Err((ErrorCode::Deadline, detail));
    }
    Ok(())
}

fn predict(
    predictor: &mut dyn Predictor,
    contract: &Contract,
    model: &Arc<Model>,
    job: &Job,
) -> Outcome {
    let began = Instant::now();
    in_time(job, began)?;
    let stack = &job.infer.stack;
    check::finite(contract, stack)?;
    let checked = began.elapsed();
    // A policy that panics is a policy that has no answer; the next request may be fine.
    let predicted =
        catch_unwind(AssertUnwindSafe(|| predictor.predict(stack, job.infer.attention)));
    let infer = began.elapsed().saturating_sub(checked);
    let prediction = match predicted {
        Ok(Ok(prediction)) => prediction,
        Ok(Err(error)) => return Err((ErrorCode::Internal, error.to_string())),
        Err(_) => return Err((ErrorCode::Internal, "the policy panicked".into())),
    };
    check::prediction(contract, &prediction)?;
    let timings = timings(job, began, checked, infer, &prediction);
    Ok(Answered { prediction, timings, model: model.clone() })
}

/// What a job took that the model began with at `began`.
fn timings(
    job: &Job,
    began: Instant,
    checked: Duration,
    infer: Duration,
    prediction: &Prediction,
) -> Timings {
    Timings {
        decode: job.decode_micros,
        queue: micros(began.saturating_duration_since(job.since)),
        preprocess: micros(checked + prediction.preprocess),
        infer: micros(infer.saturating_sub(prediction.preprocess)),
        encode: 0,
    }
}

/// Answers made-up observations that keep the contract, so many times: what each took, the quickest
/// first.
///
/// # Errors
///
/// The first that the predictor has, or that its answer breaks its promise.
pub(crate) fn warm_up(
    predictor: &mut dyn Predictor,
    contract: &Contract,
    times: usize,
) -> Result<Vec<Duration>, PredictError> {
    let spec = &contract.spec;
    let view = |view: &ViewSpec, turn: usize| {
        let (width, height) = (view.width, view.height);
        let far = || DepthImage::new(width, height, vec![1.0; width * height]);
        let depth = if view.depth { far().ok() } else { None };
        // Never the same picture twice: a policy that remembers pictures must not be timed by it.
        let [low, middle, ..] = turn.to_le_bytes();
        View { rgb: RgbImage::filled(width, height, [low, middle, 128]), depth }
    };
    let middle = |dimension: &Dimension| match (dimension.min, dimension.max) {
        (Some(min), Some(max)) => f32::midpoint(min, max),
        _ => 0.0,
    };
    let pictures = spec.num_views() * contract.num_frames;
    let mut took = Vec::with_capacity(times);
    for turn in 0..times {
        let mut turns = turn * pictures..;
        let mut observation = || Observation {
            views: spec.views.iter().zip(&mut turns).map(|(spec, turn)| view(spec, turn)).collect(),
            proprio: spec.proprio.iter().map(middle).collect(),
        };
        let stack: Vec<_> = (0..contract.num_frames).map(|_| observation()).collect();
        let began = Instant::now();
        let predicted = catch_unwind(AssertUnwindSafe(|| predictor.predict(&stack, false)));
        let prediction = predicted.map_err(|_| PredictError("the policy panicked".into()))??;
        check::prediction(contract, &prediction).map_err(|(_, detail)| PredictError(detail))?;
        took.push(began.elapsed());
    }
    took.sort_unstable();
    Ok(took)
}

/// What `encode` makes of timings that hold its own time too, which is known after a first time.
pub(crate) fn encoded<T>(timings: &mut Timings, encode: impl Fn(Timings) -> T) -> T {
    let began = Instant::now();
    drop(encode(*timings));
    timings.encode = micros(began.elapsed());
    encode(*timings)
}

pub(crate) fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
