//! Whether a request is what the policy was trained for, and an answer what was promised. Pure.

use engraft_core::Observation;
use engraft_wire::{Contract, ErrorCode, Keys, Token, WireError};

use crate::predictor::Prediction;

/// A code, and what was expected and found.
pub(crate) type Objection = (ErrorCode, String);

#[allow(clippy::needless_pass_by_value)] // What is compared is made on the spot.
fn same<T: PartialEq + std::fmt::Debug>(
    what: &str,
    expected: T,
    found: T,
) -> Result<(), Objection> {
    if expected == found {
        return Ok(());
    }
    Err((ErrorCode::BadShape, format!("{what}: expected {expected:?}, found {found:?}")))
}

/// Whether a client said the word that is asked for, where one is.
pub(crate) fn token(expected: Option<&Token>, said: Option<&Token>) -> bool {
    expected.is_none_or(|token| token.lets_in(said))
}

/// Why a client of another stack was not understood, and what it should have sent.
pub(crate) fn unreadable(error: &WireError, keys: &Keys) -> Objection {
    (error.code(), format!("{error}; this policy takes {keys}"))
}

/// Why a client is not answered that was not greeted, or before the server began anew.
pub(crate) fn unknown_session() -> Objection {
    (ErrorCode::NoSession, "this session is unknown: say hello".into())
}

/// Why a request comes too late.
pub(crate) fn stopping() -> Objection {
    (ErrorCode::NotReady, "the server is shutting down".into())
}

/// Whether every observation has the views, sizes and widths that the contract names. Nothing is
/// resized: a client that sends another size has another camera.
pub(crate) fn shape(contract: &Contract, stack: &[Observation]) -> Result<(), Objection> {
    let spec = &contract.spec;
    same("frames", contract.num_frames, stack.len())?;
    for observation in stack {
        same("views", spec.num_views(), observation.views.len())?;
        same("proprio dimensions", spec.proprio_dim(), observation.proprio.len())?;
        for (view, expected) in observation.views.iter().zip(&spec.views) {
            let size = [expected.width, expected.height];
            let name = &expected.name;
            let what = format!("width and height of view `{name}`");
            same(&what, size, [view.rgb.width(), view.rgb.height()])?;
            let depth = |there| if there { "depth" } else { "no depth" };
            let what = format!("depth of view `{name}`");
            same(&what, depth(expected.depth), depth(view.depth.is_some()))?;
        }
    }
    Ok(())
}

/// Whether proprio is made of numbers. Depth is not looked at: a camera that measures nothing
/// somewhere says so with a NaN, and policies read that as zero.
pub(crate) fn finite(contract: &Contract, stack: &[Observation]) -> Result<(), Objection> {
    for (frame, observation) in stack.iter().enumerate() {
        if let Some(at) = observation.proprio.iter().position(|value| !value.is_finite()) {
            let name = contract.spec.proprio.get(at).map_or("?", |dimension| &dimension.name);
            let found = observation.proprio[at];
            let detail = format!("proprio `{name}` of frame {frame} is {found}");
            return Err((ErrorCode::Nonfinite, detail));
        }
    }
    Ok(())
}

/// Whether a prediction may leave the server.
pub(crate) fn prediction(contract: &Contract, prediction: &Prediction) -> Result<(), Objection> {
    let chunk = &prediction.chunk;
    let expected = [contract.horizon, contract.spec.action_dim()];
    let found = [chunk.horizon(), chunk.action_dim()];
    if expected != found {
        let detail = format!("the policy gave a chunk of {found:?}, promised {expected:?}");
        return Err((ErrorCode::Internal, detail));
    }
    if !chunk.is_finite() {
        return Err((ErrorCode::Nonfinite, "the policy gave an action that is no number".into()));
    }
    Ok(())
}
