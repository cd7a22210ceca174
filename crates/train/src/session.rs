//! The loop of a run, as a strategy of Burn's learner.
//!
//! `SupervisedTraining` brings the learner, its hooks, the dashboard and its metrics. Burn's own
//! single-device strategy saves on threads and only where an epoch ends, stops at a signal without
//! saving, and knows no time limit; this one saves at any step, all of it or nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use burn::data::dataloader::DataLoaderIterator;
use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::train::metric::store::EventStoreClient;
use burn::train::{
    EventProcessorTraining, InferenceStep, Interrupter, Learner, LearnerEvent,
    LearningCheckpointer, SupervisedLearningStrategy, SupervisedTrainingEventProcessor,
    TrainLoader, TrainingComponents, TrainingItem, ValidLoader,
};

use crate::batch::Batch;
use crate::capture::Capture;
use crate::learner::{Imitation, StepOutput};
use crate::loader::{Cursor, Failure};
use crate::progress::{MetricsRow, Window};
use crate::saver::Saver;
use crate::schedule::Total;
use crate::state::{self, Standing};
use crate::{Ending, Progress, Recipe, Summary, TrainError};

type Events = SupervisedTrainingEventProcessor<Imitation>;

/// One call of `train`.
pub(crate) struct Session {
    pub(crate) recipe: Recipe,
    /// Steps at which the run ends; far away under a time limit.
    pub(crate) steps: u64,
    pub(crate) began: Instant,
    pub(crate) time_limit: Option<Duration>,
    pub(crate) total: Total,
    pub(crate) cursor: Cursor,
    pub(crate) failure: Failure,
    pub(crate) interrupt: Arc<AtomicBool>,
    pub(crate) interrupter: Interrupter,
    pub(crate) progress: Box<dyn FnMut(&Progress) + Send>,
    pub(crate) report_every: Duration,
    pub(crate) validates: bool,
    pub(crate) standing: Standing,
    pub(crate) saver: Saver,
    pub(crate) capture: Capture,
}

/// What the loop carries along and a resumed run begins anew.
struct Loop {
    /// Seconds in the loop before this call.
    earlier_secs: f64,
    began: Instant,
    first_step: u64,
    /// Since the last line.
    window: Window,
    /// Since the loop began.
    whole: Window,
}

impl Loop {
    fn elapsed_secs(&self) -> f64 {
        self.earlier_secs + self.began.elapsed().as_secs_f64()
    }
}

impl Session {
    fn run(
        &mut self,
        learner: &mut Learner<Imitation>,
        components: &mut Components,
        train: &TrainLoader<Imitation>,
        valid: &ValidLoader<Imitation>,
    ) -> Result<Summary, TrainError> {
        let mut state = Loop {
            earlier_secs: self.standing.elapsed_secs,
            began: Instant::now(),
            first_step: self.standing.step,
            window: Window::new(),
            whole: Window::new(),
        };
        let mut ending = Ending::Finished;
        while self.standing.step < self.steps {
            if self.standing.step.is_multiple_of(self.recipe.epoch_steps) {
                self.standing.epoch_loss = (0.0, 0);
            }
            let epoch = (self.standing.step / self.recipe.epoch_steps) as usize + 1;
            self.cursor.set(self.standing.step);
            let total_items = train.num_items();
            components.train(LearnerEvent::StartSplit { epoch_number: epoch, total_items })?;
            let mut stop = None;
            let mut batches = train.iter();
            let end = ((epoch as u64) * self.recipe.epoch_steps).min(self.steps);
            while self.standing.step < end && stop.is_none() {
                self.set_total(&state);
                let output = self.step(learner, &mut *batches, &mut state)?;
                let (progress, step) = (batches.progress(), self.standing.step as usize);
                let item =
                    TrainingItem::new(output, progress, Some(step), Some(learner.lr_current()));
                components.train(LearnerEvent::ProcessedItem(item))?;
                stop = self.asked_to_stop();
            }
            drop(batches);
            components.train(LearnerEvent::EndSplit(epoch))?;
            self.standing.elapsed_secs = state.elapsed_secs();
            // At the end of an epoch the epoch is ended first, or it would never be.
            if stop == Some(Ending::Interrupted) && self.standing.step < end {
                self.save(learner, components, false)?;
                ending = Ending::Interrupted;
                break;
            }
            let best = self.validate(learner, components, valid, epoch)?;
            components.train(LearnerEvent::EndEpoch(epoch))?;
            self.standing.elapsed_secs = state.elapsed_secs();
            self.end_epoch(learner, components, best)?;
            if let Some(stop) = stop.or_else(|| self.asked_to_stop()) {
                ending = stop;
                break;
            }
        }
        if self.standing.step == self.steps {
            ending = Ending::Finished;
        }
        Ok(self.summary(ending, &state))
    }

    /// One optimizer step.
    fn step(
        &mut self,
        learner: &mut Learner<Imitation>,
        batches: &mut dyn DataLoaderIterator<Vec<Batch>>,
        state: &mut Loop,
    ) -> Result<StepOutput, TrainError> {
        let mut accumulator = GradientsAccumulator::new();
        let mut sum = None::<StepOutput>;
        let accumulate = self.recipe.accumulate;
        let mut single = None::<GradientsParams>;
        for _ in 0..accumulate {
            let start = Instant::now();
            let batch = batches.next();
            let waited = start.elapsed();
            state.window.waited += waited;
            state.whole.waited += waited;
            let batch = batch.and_then(Result::ok).ok_or_else(|| {
                let lost =
                    TrainError::Learner { message: "the thread that reads data ended".into() };
                self.failure.take().unwrap_or(lost)
            })?;
            let output = learner.train_step(batch);
            if !output.item.loss.is_finite() {
                return Err(TrainError::Diverged { what: "loss", step: self.standing.step });
            }
            if accumulate == 1 {
                single = Some(output.grads);
            } else {
                accumulator.accumulate(&learner.model().policy, output.grads);
            }
            sum = Some(match sum {
                None => output.item,
                Some(sum) => sum.with(&output.item),
            });
        }
        let mut output = sum.ok_or(TrainError::Empty { purpose: "learn from" })?;
        output.loss /= accumulate as f64;
        learner.lr_step();
        learner.optimizer_step(single.unwrap_or_else(|| accumulator.grads()));
        let norm = learner.model().gradient_norm();
        if !norm.is_finite() {
            return Err(TrainError::Diverged { what: "gradient", step: self.standing.step });
        }
        self.standing.step += 1;
        self.standing.epoch_loss.0 += output.loss;
        self.standing.epoch_loss.1 += 1;
        for window in [&mut state.window, &mut state.whole] {
            window.num_images += output.num_images;
            window.losses.0 += output.loss;
            window.losses.1 += 1;
        }
        output.images_per_sec = state.window.images_per_sec();
        output.waiting = state.window.waiting();
        let rate = learner.lr_current().base();
        self.saver.metrics.write(&MetricsRow {
            loss: Some(output.loss),
            learning_rate: Some(rate),
            gradient_norm: Some(f64::from(norm)),
            images_per_sec: Some(output.images_per_sec.round()),
            waiting: Some((output.waiting * 1e4).round() / 1e4),
            ..MetricsRow::new(self.standing.step, state.elapsed_secs())
        })?;
        if state.window.since.elapsed() >= self.report_every {
            self.report(rate, state);
            self.saver.metrics.flush()?;
            state.window = Window::new();
        }
        Ok(output)
    }

    fn report(&mut self, learning_rate: f64, state: &Loop) {
        let step = self.standing.step;
        let per_step =
            state.began.elapsed().as_secs_f64() / (step - state.first_step).max(1) as f64;
        let total = self.total.get();
        let left = match self.time_limit {
            Some(limit) => limit.saturating_sub(self.began.elapsed()),
            None => Duration::from_secs_f64((total - step as f64).max(0.0) * per_step),
        };
        (self.progress)(&Progress::Steps {
            step,
            total: total.is_finite().then(|| (total as u64).max(step)),
            loss: state.window.losses.0 / state.window.losses.1.max(1) as f64,
            learning_rate,
            images_per_sec: state.window.images_per_sec(),
            waiting: state.window.waiting(),
            left,
        });
    }

    /// Corrects the number of steps that fit into the time limit.
    ///
    /// The share of the run that is done is the share of the loop's time that is used, whatever
    /// a step costs; the number of steps follows from it.
    fn set_total(&self, state: &Loop) {
        let Some(limit) = self.time_limit else { return };
        // What this call spent before the loop is not the loop's.
        let prepared = state.began.duration_since(self.began);
        let loop_secs = state.earlier_secs + limit.saturating_sub(prepared).as_secs_f64();
        let share = state.elapsed_secs() / loop_secs.max(1e-9);
        let done = self.standing.step as f64;
        // The first steps say nothing about the rest: no batch was ready, no code warm.
        let total = if done < 5.0 { f64::INFINITY } else { done / share.clamp(1e-9, 1.0) };
        self.total.set(total);
    }

    fn asked_to_stop(&self) -> Option<Ending> {
        if self.interrupt.load(Ordering::Relaxed) || self.interrupter.should_stop() {
            return Some(Ending::Interrupted);
        }
        let time_up = self.time_limit.is_some_and(|limit| self.began.elapsed() >= limit);
        time_up.then_some(Ending::TimeUp)
    }

    /// Looks at the episodes held back; says whether it was the best yet.
    fn validate(
        &mut self,
        learner: &Learner<Imitation>,
        components: &mut Components,
        valid: &ValidLoader<Imitation>,
        epoch: usize,
    ) -> Result<bool, TrainError> {
        if !self.validates {
            return Ok(false);
        }
        let total_items = valid.num_items();
        components.valid(LearnerEvent::StartSplit { epoch_number: epoch, total_items })?;
        let model = learner.model().valid();
        let (mut sum, mut count) = (0.0, 0);
        let mut batches = valid.iter();
        let mut iteration = 0;
        while let Some(batch) = batches.next() {
            let lost =
                || TrainError::Learner { message: "the thread that reads data ended".into() };
            let batch = batch.map_err(|_| self.failure.take().unwrap_or_else(lost))?;
            let output = InferenceStep::step(&model, batch);
            sum += output.loss * output.num_samples as f64;
            count += output.num_samples;
            iteration += 1;
            let item = TrainingItem::new(output, batches.progress(), Some(iteration), None);
            components.valid(LearnerEvent::ProcessedItem(item))?;
        }
        components.valid(LearnerEvent::EndSplit(epoch))?;
        let loss = sum / f64::from(u32::try_from(count.max(1)).unwrap_or(u32::MAX));
        self.standing.val_loss = Some(loss);
        let best = self.standing.best.is_none_or(|(best, _)| loss < best);
        if best {
            self.standing.best = Some((loss, self.standing.step));
        }
        Ok(best)
    }

    fn end_epoch(
        &mut self,
        learner: &Learner<Imitation>,
        components: &mut Components,
        best: bool,
    ) -> Result<(), TrainError> {
        let Standing { step, val_loss, elapsed_secs, .. } = self.standing;
        let loss = self.standing.mean_loss();
        let row =
            MetricsRow { epoch_loss: Some(loss), val_loss, ..MetricsRow::new(step, elapsed_secs) };
        self.saver.metrics.write(&row)?;
        (self.progress)(&Progress::Epoch { step, loss, val_loss, best });
        self.save(learner, components, best)
    }

    /// Leaves everything on disk: the checkpoints first, so that a state never runs ahead of them.
    fn save(
        &mut self,
        learner: &Learner<Imitation>,
        components: &mut Components,
        best: bool,
    ) -> Result<(), TrainError> {
        self.saver.metrics.flush()?;
        let policy = learner.model().product();
        if best {
            self.saver.checkpoint("best", policy.clone(), &self.standing)?;
        }
        self.saver.checkpoint("last", policy, &self.standing)?;
        let records =
            self.capture.records(learner, components.checkpointer.as_mut(), &components.store)?;
        state::save(&self.saver.out, &self.standing, records)
    }

    fn summary(&self, ending: Ending, state: &Loop) -> Summary {
        let Standing { step, val_loss, best, elapsed_secs, .. } = self.standing;
        Summary {
            ending,
            step,
            train_loss: self.standing.mean_loss(),
            val_loss,
            best,
            elapsed_secs,
            images_per_sec: state.whole.images_per_sec(),
            waiting: state.whole.waiting(),
            num_learned_params: 0,
            checkpoint: crate::checkpoint_dir(&self.saver.out),
        }
    }
}

/// The parts of Burn's learner that the loop talks to.
struct Components {
    events: Events,
    checkpointer: Option<LearningCheckpointer<Imitation>>,
    store: Arc<EventStoreClient>,
}

type Event = LearnerEvent<StepOutput>;

impl Components {
    fn train(&mut self, event: Event) -> Result<(), TrainError> {
        self.events.process_train(event).map_err(learner_error)
    }

    fn valid(&mut self, event: Event) -> Result<(), TrainError> {
        self.events.process_valid(event).map_err(learner_error)
    }
}

fn learner_error(error: impl std::fmt::Display) -> TrainError {
    TrainError::Learner { message: error.to_string() }
}

/// The loop as Burn's learner calls it.
pub(crate) struct Steps {
    session: Mutex<(Session, Option<Result<Summary, TrainError>>)>,
}

impl Steps {
    pub(crate) fn new(session: Session) -> Self {
        Self { session: Mutex::new((session, None)) }
    }

    fn lock(&self) -> MutexGuard<'_, (Session, Option<Result<Summary, TrainError>>)> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the loop came to.
    pub(crate) fn finish(&self) -> Result<Summary, TrainError> {
        let never = || Err(TrainError::Learner { message: "the loop never ran".into() });
        self.lock().1.take().unwrap_or_else(never)
    }
}

impl SupervisedLearningStrategy<Imitation> for Steps {
    fn fit(
        &self,
        components: TrainingComponents<Imitation>,
        mut learner: Learner<Imitation>,
        train: TrainLoader<Imitation>,
        valid: ValidLoader<Imitation>,
        _starting_epoch: usize,
    ) -> (Imitation, Events) {
        let mut parts = Components {
            events: components.event_processor,
            checkpointer: components.checkpointer,
            store: components.event_store,
        };
        let mut session = self.lock();
        let result = session.0.run(&mut learner, &mut parts, &train, &valid);
        session.1 = Some(result);
        (learner.model(), parts.events)
    }
}
