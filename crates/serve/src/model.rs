//! The model thread: one job after the other.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use engraft_wire::{Contract, ErrorCode, Timings};

use crate::check::{self, Objection};
use crate::predictor::{Prediction, Predictor};
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
        queue: micros(began.saturating_duration_since(job.since)),
        preprocess: micros(checked + prediction.preprocess),
        infer: micros(infer.saturating_sub(prediction.preprocess)),
        encode: 0,
    };
    Ok((prediction, timings))
}

pub(crate) fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}
