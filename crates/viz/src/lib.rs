//! Pictures of what happened: rerun recordings, contact sheets, plots.
