//! The model thread: one job after the other.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use engraft_core::{DepthImage, Dimension, Observation, RgbImage, View, ViewSpec};
use engraft_wire::{Contract, ErrorCode, Timings};

use crate::check::{self, Objection};
use crate::predictor::{PredictError, Prediction, Predictor};
use crate::room::{Job, Room};

/// What became of a job.
pub(crate) type Outcome = Result<(Prediction, Timings), Objection>;

/// Works until the room is closed and empty; `answer` is told what becomes of each job.
pub(crate) fn work(
    mut predictor: impl Predictor,
    contract: &Contract,
    room: &Room,
    mut answer: impl FnMut(Job, Outcome),
) {
    while let Some(job) = room.next() {
        let outcome = predict(&mut predictor, contract, &job);
        answer(job, outcome);
    }
}

fn predict(predictor: &mut impl Predictor, contract: &Contract, job: &Job) -> Outcome {
    let began = Instant::now();
    let waited = began.saturating_duration_since(job.since);
    let deadline = Duration::from_millis(job.infer.deadline_millis.into());
    if !deadline.is_zero() && waited > deadline {
        let detail = format!("waited {waited:.0?} for the model, expected at most {deadline:?}");
        return Err((ErrorCode::Deadline, detail));
    }
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
    let timings = Timings {
        decode: job.decode_micros,
        queue: micros(waited),
        preprocess: micros(checked + prediction.preprocess),
        infer: micros(infer.saturating_sub(prediction.preprocess)),
        encode: 0,
    };
    Ok((prediction, timings))
}

/// Answers made-up observations that keep the contract, so many times: what each took, the quickest
/// first.
///
/// # Errors
///
/// The first that the predictor has, or that its answer breaks its promise.
pub(crate) fn warm_up(
    predictor: &mut impl Predictor,
    contract: &Contract,
    times: usize,
) -> Result<Vec<Duration>, PredictError> {
    let spec = &contract.spec;
    let view = |view: &ViewSpec| {
        let (width, height) = (view.width, view.height);
        let far = || DepthImage::new(width, height, vec![1.0; width * height]);
        let depth = if view.depth { far().ok() } else { None };
        View { rgb: RgbImage::filled(width, height, [128; 3]), depth }
    };
    let middle = |dimension: &Dimension| match (dimension.min, dimension.max) {
        (Some(min), Some(max)) => f32::midpoint(min, max),
        _ => 0.0,
    };
    let observation = Observation {
        views: spec.views.iter().map(view).collect(),
        proprio: spec.proprio.iter().map(middle).collect(),
    };
    let stack = vec![observation; contract.num_frames];
    let mut took = Vec::with_capacity(times);
    for _ in 0..times {
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
