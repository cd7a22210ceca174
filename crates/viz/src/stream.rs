//! A rerun stream: where it goes, what can go wrong, and how it ends.

use std::path::PathBuf;
use std::time::Duration;

use rerun::external::re_uri::ProxyUri;
use rerun::sink::{FileSink, GrpcSink, LogSink};
use rerun::{AsComponents, EntityPath, RecordingStream, RecordingStreamBuilder};

/// How long the end of a recording may take.
pub(crate) const FINISH_SECS: u64 = 20;

/// Where a recording goes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sink {
    /// A `.rrd` file.
    File(PathBuf),
    /// A viewer on this machine, started where none runs; needs `rerun` on the path.
    Viewer,
    /// A viewer that runs already, such as `127.0.0.1:9876`.
    Connect(String),
}

/// Why something could not be recorded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// The file could not be made.
    #[error("cannot write recording (path: {path:?})")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<rerun::sink::FileSinkError>,
    },
    /// No viewer is installed.
    #[error(
        "cannot find the rerun viewer: get it with `pip install rerun-sdk==0.36.3`, or write a \
         file with --save FILE.rrd or --png FILE.png"
    )]
    NoViewer,
    /// The viewer could not be started.
    #[error("cannot start the rerun viewer")]
    Viewer {
        /// Why.
        source: Box<rerun::SpawnError>,
    },
    /// The address is none.
    #[error("`{address}` is no viewer's address, expected one such as `127.0.0.1:9876`")]
    Address {
        /// What was given.
        address: String,
        /// Why.
        source: Box<rerun::external::re_uri::Error>,
    },
    /// Something could not be logged.
    #[error("cannot record")]
    Record {
        /// Why.
        source: Box<rerun::RecordingStreamError>,
    },
    /// Not all of it reached its place.
    #[error("the recording is not complete")]
    Finish {
        /// Why.
        source: Box<rerun::sink::SinkFlushError>,
    },
    /// The recorder did not come to an end.
    #[error("the recorder did not finish within {secs} s")]
    Stuck {
        /// How long it was waited for.
        secs: u64,
    },
    /// The recorder's thread could not be started.
    #[error("cannot start the recorder's thread")]
    Thread {
        /// Why.
        source: std::io::Error,
    },
}

impl From<rerun::RecordingStreamError> for RecordingError {
    fn from(source: rerun::RecordingStreamError) -> Self {
        Self::Record { source: Box::new(source) }
    }
}

impl From<rerun::SerializationError> for RecordingError {
    fn from(source: rerun::SerializationError) -> Self {
        rerun::RecordingStreamError::from(source).into()
    }
}

/// A rerun stream with our two timelines: `step` and `time`.
pub(crate) struct Stream {
    inner: RecordingStream,
}

/// An entity's path from parts that may hold any character.
pub(crate) fn path(parts: &[&str]) -> EntityPath {
    let part = |part: &&str| rerun::EntityPathPart::new(if part.is_empty() { "_" } else { part });
    parts.iter().map(part).collect()
}

/// `names`, with a number behind those that came before.
pub(crate) fn unique<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for name in names {
        let mut unique = name.to_owned();
        let mut count = 1;
        while all.contains(&unique) {
            count += 1;
            unique = format!("{name} ({count})");
        }
        all.push(unique);
    }
    all
}

fn open(sink: &Sink) -> Result<Box<dyn LogSink>, RecordingError> {
    let address = match sink {
        Sink::File(path) => {
            let sink = FileSink::new(path.clone()).map_err(|source| RecordingError::File {
                path: path.clone(),
                source: Box::new(source),
            })?;
            return Ok(Box::new(sink));
        }
        Sink::Viewer => {
            let viewer =
                rerun::spawn(&rerun::SpawnOptions::default()).map_err(|error| match error {
                    rerun::SpawnError::ExecutableNotFoundInPath { .. } => RecordingError::NoViewer,
                    error => RecordingError::Viewer { source: Box::new(error) },
                })?;
            format!("127.0.0.1:{}", viewer.port)
        }
        Sink::Connect(address) => address.clone(),
    };
    let uri = if address.contains("://") {
        address.clone()
    } else {
        format!("rerun+http://{address}/proxy")
    };
    let uri: ProxyUri = uri
        .parse()
        .map_err(|source| RecordingError::Address { address, source: Box::new(source) })?;
    Ok(Box::new(GrpcSink::new(uri)))
}

impl Stream {
    /// Opens all of `sinks`. Recordings of one `kind` share their layout in the viewer.
    pub(crate) fn open(
        kind: &'static str,
        name: &str,
        sinks: &[Sink],
    ) -> Result<Self, RecordingError> {
        let sinks: Vec<_> = sinks.iter().map(open).collect::<Result<_, _>>()?;
        let builder = RecordingStreamBuilder::new(kind);
        let inner = builder.recording_name(name).set_sinks(sinks)?;
        inner.set_log_time_enabled(false);
        inner.set_log_tick_enabled(false);
        Ok(Self { inner })
    }

    /// What follows happens at `step`, `secs` into the recording.
    pub(crate) fn at(&self, step: usize, secs: f64) {
        self.inner.set_time_sequence("step", step as i64);
        if secs.is_finite() {
            self.inner.set_duration_secs("time", secs);
        }
    }

    /// What follows happens at `step`; there is no time.
    pub(crate) fn at_step(&self, step: i64) {
        self.inner.set_time_sequence("step", step);
    }

    pub(crate) fn log(
        &self,
        path: EntityPath,
        what: &impl AsComponents,
    ) -> Result<(), RecordingError> {
        Ok(self.inner.log(path, what)?)
    }

    pub(crate) fn log_static(
        &self,
        path: EntityPath,
        what: &impl AsComponents,
    ) -> Result<(), RecordingError> {
        Ok(self.inner.log_static(path, what)?)
    }

    /// Logs one scalar per step and time, all at once.
    pub(crate) fn log_series(
        &self,
        path: EntityPath,
        steps: impl Iterator<Item = i64>,
        secs: Option<Vec<f64>>,
        values: impl Iterator<Item = f64>,
    ) -> Result<(), RecordingError> {
        let mut times = vec![rerun::TimeColumn::new_sequence("step", steps)];
        times.extend(secs.map(|secs| rerun::TimeColumn::new_duration_secs("time", secs)));
        let columns = rerun::Scalars::new(values).columns_of_unit_batches()?;
        Ok(self.inner.send_columns(path, times, columns)?)
    }

    /// Lays out the viewer.
    pub(crate) fn lay_out(
        &self,
        layout: &rerun::blueprint::Blueprint,
    ) -> Result<(), RecordingError> {
        Ok(layout.send(&self.inner, rerun::blueprint::BlueprintActivation::default())?)
    }

    /// Writes what is left.
    pub(crate) fn finish(self) -> Result<(), RecordingError> {
        self.inner
            .flush_with_timeout(Duration::from_secs(FINISH_SECS))
            .map_err(|source| RecordingError::Finish { source: Box::new(source) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_impossible_file_or_address_is_named() {
        let sink = Sink::File("/no/such/folder/x.rrd".into());
        let Err(error) = Stream::open("engraft_test", "", &[sink]) else { panic!("it opened") };
        assert_eq!(error.to_string(), r#"cannot write recording (path: "/no/such/folder/x.rrd")"#);
        let Err(error) =
            Stream::open("engraft_test", "", &[Sink::Connect("nowhere at all".into())])
        else {
            panic!("it opened")
        };
        assert!(error.to_string().starts_with("`nowhere at all` is no viewer's address"));
    }

    #[test]
    fn names_that_came_before_get_a_number() {
        assert_eq!(unique(["x", "y", "x", "x"].into_iter()), ["x", "y", "x (2)", "x (3)"]);
    }

    #[test]
    fn any_name_is_one_part_of_a_path() {
        assert_eq!(path(&["camera", "left/front cam"]).len(), 2);
        assert_eq!(path(&["camera", ""]).len(), 2);
    }
}
