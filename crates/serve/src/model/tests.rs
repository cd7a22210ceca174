//! A model that counts how many it answers at once.

use std::sync::Mutex;
use std::sync::mpsc::sync_channel;

use engraft_core::{ActionChunk, RobotSpec};
use engraft_wire::{Infer, Session};

use super::*;
use crate::room::Asker;

/// Gives back the newest angle; several at once fail where one of them is 13, and 13 alone panics.
struct Together(Arc<Mutex<Vec<usize>>>);

fn contract() -> Contract {
    let dimension = || vec![Dimension::new("elbow", "rad")];
    let spec = RobotSpec {
        name: "arm".into(),
        control_hz: 10.0,
        views: Vec::new(),
        proprio: dimension(),
        actions: dimension(),
    };
    Contract { spec, num_frames: 1, horizon: 1 }
}

impl Predictor for Together {
    fn contract(&self) -> Contract {
        contract()
    }

    fn model(&self) -> Model {
        Model { name: "together".into(), hash: "t".into() }
    }

    fn predict(
        &mut self,
        stack: &[Observation],
        attention: bool,
    ) -> Result<Prediction, PredictError> {
        let mut all = self.predict_many(&[stack], attention)?;
        Ok(all.remove(0))
    }

    fn predict_many(
        &mut self,
        stacks: &[&[Observation]],
        _: bool,
    ) -> Result<Vec<Prediction>, PredictError> {
        self.0.lock().unwrap().push(stacks.len());
        let one = |stack: &&[Observation]| {
            let angle = stack[0].proprio[0];
            assert!(angle != 13.0, "an unlucky number");
            let chunk = ActionChunk::new(1, 1, vec![angle]).unwrap();
            Prediction { chunk, attention: Vec::new(), preprocess: Duration::ZERO }
        };
        Ok(stacks.iter().map(one).collect())
    }
}

/// What a model makes of requests with these angles that wait when it begins, `batch` at a time,
/// and how many it answered at once.
fn answers(batch: usize, angles: &[f32]) -> (Vec<Result<f32, ErrorCode>>, Vec<usize>) {
    let (room, counts) = (Room::default(), Arc::new(Mutex::new(Vec::new())));
    for &angle in angles {
        let stack = vec![Observation { views: Vec::new(), proprio: vec![angle] }];
        let infer = Infer::bare(Session([0; 16]), 0, stack);
        let asker = Asker::Web(sync_channel(1).0);
        let job = Job { asker, infer, decode_micros: 0, since: Instant::now() };
        assert!(matches!(room.enter(job), Ok(None)));
    }
    room.close();
    let heard = Mutex::new(Vec::new());
    let answer = |_: Job, outcome: Outcome| {
        let value = outcome.map(|answered| answered.prediction.chunk.values()[0]);
        heard.lock().unwrap().push(value.map_err(|(code, _)| code));
        Ok::<_, ()>(())
    };
    let together = Box::new(Together(counts.clone()));
    work(together, &contract(), &room, batch, answer, |_| Ok(()), || Ok(())).unwrap();
    let counts = counts.lock().unwrap().clone();
    (heard.into_inner().unwrap(), counts)
}

#[test]
fn as_many_as_wait_are_answered_together_up_to_the_batch() {
    let angles = [1.0, 2.0, 3.0, 4.0, 5.0];
    let expected: Vec<_> = angles.map(Ok).to_vec();
    assert_eq!(answers(1, &angles), (expected.clone(), vec![1; 5]));
    assert_eq!(answers(2, &angles), (expected.clone(), vec![2, 2, 1]));
    assert_eq!(answers(8, &angles), (expected, vec![5]));
}

#[test]
fn one_that_fails_does_not_take_the_others_with_it() {
    let (heard, counts) = answers(8, &[1.0, 13.0, 3.0]);
    assert_eq!(heard, [Ok(1.0), Err(ErrorCode::Internal), Ok(3.0)]);
    assert_eq!(counts, [3, 1, 1, 1]);
    // What is no number is refused without a try.
    let (heard, counts) = answers(8, &[1.0, f32::NAN]);
    assert_eq!(heard, [Ok(1.0), Err(ErrorCode::Nonfinite)]);
    assert_eq!(counts, [1]);
}
