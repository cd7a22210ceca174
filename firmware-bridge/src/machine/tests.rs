//! Every state against every event, early and late.

use std::fmt::Write as _;

use super::*;

const PATIENCE: Patience = Patience {
    chunk_age: Duration::from_millis(900),
    hold: Duration::from_secs(2),
    first_chunk: Duration::from_secs(10),
    stop: Duration::from_secs(1),
};
const NOW: Duration = Duration::from_secs(100);

/// Moments at, just before and long before now, and one in the future.
fn moments() -> Vec<Duration> {
    [0, 500, 950, 1_500, 2_500, 11_000]
        .into_iter()
        .map(|ago| NOW.saturating_sub(Duration::from_millis(ago)))
        .chain([NOW + Duration::from_secs(1)])
        .collect()
}

fn states() -> Vec<State> {
    let mut states = vec![State::Disconnected, State::Idle, State::Ready];
    states.extend([State::Armed, State::Estop]);
    states.extend(Cause::ALL.map(State::Fault));
    for at in moments() {
        states.push(State::Running { observed: at });
        states.extend([true, false].map(|leased| State::Stopping { since: at, leased }));
        states.extend(Cause::ALL.map(|cause| State::Hold { since: at, cause }));
    }
    states
}

fn events() -> Vec<Event> {
    vec![
        Event::Connected,
        Event::TorqueOn,
        Event::TorqueOff,
        Event::Leased,
        Event::LeaseStale,
        Event::LeaseLost,
        Event::Mismatch,
        Event::Lost,
        Event::Start,
        Event::Chunk { observed: NOW },
        Event::Underrun,
        Event::Tick,
        Event::Gap,
        Event::Failed(Cause::Arm),
        Event::Stop,
        Event::AtRest,
        Event::Estop,
        Event::Reset,
    ]
}

#[test]
fn every_state_and_event_keeps_the_promises() {
    for state in states() {
        for event in events() {
            let (next, commands) = state.step(event, NOW, &PATIENCE);
            let told = format!("{state:?} + {event:?} = {next:?}");
            assert_eq!(commands.motion, next.motion(), "{told}");
            // An emergency stop always wins, and what is latched stays until a reset.
            if event == Event::Estop {
                assert_eq!(next, State::Estop, "{told}");
            } else if state.is_latched() {
                assert!(next == state || event == Event::Reset, "{told}");
                // A reset never leads to an arm that holds or moves: torque is asked for anew.
                assert!(next == state || next.motion() == Motion::Nothing, "{told}");
            }
            // Torque comes from an operator alone; what is latched rests, with whatever torque it has.
            if state.motion() == Motion::Nothing && next.motion() != Motion::Nothing {
                let known = state == State::Idle && event == Event::TorqueOn;
                assert!(known || next.is_latched(), "{told}");
            }
            // Only a chunk makes the arm move, and only after somebody started.
            if commands.motion == Motion::Play && state.motion() != Motion::Play {
                assert!(matches!(event, Event::Chunk { .. }), "{told}");
                assert!(matches!(state, State::Hold { .. }), "{told}");
            }
            // Nothing but a start leads from standing ready towards motion.
            if matches!(next, State::Hold { .. }) && !matches!(state, State::Hold { .. }) {
                let started = state == State::Armed && event == Event::Start;
                assert!(started || matches!(state, State::Running { .. }), "{told}");
            }
            // Whoever leaves a motion forgets what was queued.
            if state.motion() == Motion::Play && next.motion() != Motion::Play {
                assert!(commands.clear_queue, "{told}");
            }
            assert!(!(commands.clear_queue && next == state), "{told}");
            // A stop is never answered by more motion.
            if event == Event::Stop {
                assert_ne!(commands.motion, Motion::Play, "{told}");
            }
        }
    }
}

#[test]
fn the_watchdog_holds_and_then_faults() {
    let start = State::Running { observed: NOW };
    let tick = |state: State, after: u64| {
        state.step(Event::Tick, NOW + Duration::from_millis(after), &PATIENCE).0
    };
    assert_eq!(tick(start, 900), start);
    let held = tick(start, 901);
    let since = NOW + Duration::from_millis(901);
    assert_eq!(held, State::Hold { since, cause: Cause::Stale });
    assert_eq!(tick(held, 2_901), held);
    assert_eq!(tick(held, 2_902), State::Fault(Cause::Stale));
}

#[test]
fn a_chunk_in_time_ends_a_hold() {
    let held = State::Hold { since: NOW, cause: Cause::Underrun };
    let (next, _) = held.step(Event::Chunk { observed: NOW }, NOW, &PATIENCE);
    assert_eq!(next, State::Running { observed: NOW });
}

#[test]
fn the_first_chunk_may_take_longer() {
    let (state, _) = State::Armed.step(Event::Start, NOW, &PATIENCE);
    let tick = |after| state.step(Event::Tick, NOW + Duration::from_secs(after), &PATIENCE).0;
    assert_eq!(tick(9), state);
    assert_eq!(tick(11), State::Fault(Cause::Starting));
}

/// One row per state, one column per event; times are the longest.
fn table() -> String {
    let long_ago = Duration::ZERO;
    let rows = [
        State::Disconnected,
        State::Idle,
        State::Ready,
        State::Armed,
        State::Running { observed: long_ago },
        State::Hold { since: long_ago, cause: Cause::Underrun },
        State::Stopping { since: long_ago, leased: true },
        State::Fault(Cause::Underrun),
        State::Estop,
    ];
    let mut text = String::from(
        "# States of the bridge\n\n\
         Written by a test from `src/machine.rs`; run it with `ENGRAFT_BLESS=1` to write it anew.\n\
         A dot means that nothing changes. `Tick` is shown after patience has run out; before \
         that it changes nothing.\n\n| state | arm |",
    );
    let name = |event: &Event| {
        let text = format!("{event:?}");
        text.split([' ', '(']).next().map(str::to_owned).unwrap_or_default()
    };
    for event in events() {
        write!(text, " {} |", name(&event)).unwrap();
    }
    text.push_str("\n| --- | --- |");
    text.push_str(&" --- |".repeat(events().len()));
    for state in rows {
        write!(text, "\n| **{}** | {:?} |", state.name(), state.motion()).unwrap();
        for event in events() {
            let (next, _) = state.step(event, NOW, &PATIENCE);
            let cell = if next.name() == state.name() { "." } else { next.name() };
            write!(text, " {cell} |").unwrap();
        }
    }
    text.push('\n');
    text
}

#[test]
fn the_documented_table_is_the_code_s() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/STATES.md");
    if std::env::var_os("ENGRAFT_BLESS").is_some() {
        std::fs::write(path, table()).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap();
    assert_eq!(written, table(), "STATES.md differs from the code");
}
