//! The other side: a Python process with PyTorch, asked for one sample at a time.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, anyhow, bail, ensure};
use engraft_backbones::weights::cache_dir;
use serde_json::{Value, json};

use crate::progress::note;

/// The Python side, file by file.
const PROGRAM: &[(&str, &str)] = &[
    ("main.py", include_str!("pytorch/main.py")),
    ("networks.py", include_str!("pytorch/networks.py")),
    ("backbones.py", include_str!("pytorch/backbones.py")),
    ("work.py", include_str!("pytorch/work.py")),
    ("augment.py", include_str!("pytorch/augment.py")),
    ("train.py", include_str!("pytorch/train.py")),
];

/// What a virtual environment of it needs.
const REQUIREMENTS: &str = include_str!("pytorch/requirements.txt");

/// A running Python process.
pub(crate) struct Peer {
    child: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    /// What it wrote to stderr.
    log: PathBuf,
    pub(crate) versions: Value,
}

/// What a variant came to when it was prepared.
pub(crate) struct Prepared {
    pub(crate) shape: Vec<usize>,
    pub(crate) params: Option<usize>,
    /// Floating-point operations of one iteration, where they were counted.
    pub(crate) flops: Option<f64>,
}

impl Peer {
    /// Starts it on `threads` threads: with the interpreter `python`, or with one of its own.
    pub(crate) fn start(python: Option<&Path>, threads: usize) -> anyhow::Result<Self> {
        let folder = cache_dir()?.join("bench");
        let python = match python {
            Some(python) => python.to_owned(),
            None => environment(&folder)?,
        };
        let program = folder.join(format!("pytorch-{}", env!("CARGO_PKG_VERSION")));
        let cannot = |path: &Path| format!("cannot write (path: {})", path.display());
        std::fs::create_dir_all(&program).with_context(|| cannot(&program))?;
        for (name, text) in PROGRAM {
            let path = program.join(name);
            std::fs::write(&path, text).with_context(|| cannot(&path))?;
        }
        let log = program.join(format!("stderr-{}.log", std::process::id()));
        let stderr = File::create(&log).with_context(|| cannot(&log))?;
        let mut child = Command::new(&python)
            .arg(program.join("main.py"))
            .env("OMP_NUM_THREADS", threads.to_string())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("TORCHINDUCTOR_CACHE_DIR", folder.join("inductor"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .with_context(|| format!("cannot start Python (path: {})", python.display()))?;
        let requests = child.stdin.take();
        let answers = child.stdout.take().context("the process has an output")?;
        let answers = BufReader::new(answers);
        let mut peer = Self { child, requests, answers, log, versions: Value::Null };
        let hello = peer.ask(&json!({ "op": "hello" })).with_context(|| {
            let needs = REQUIREMENTS.split_whitespace().collect::<Vec<_>>().join(" ");
            format!(
                "the Python at {} cannot run the other side; it needs {needs}",
                python.display()
            )
        })?;
        ensure!(
            hello["threads"] == json!(threads),
            "expected PyTorch on {threads} threads, found {}",
            hello["threads"]
        );
        peer.versions = hello["versions"].clone();
        peer.versions["cpu_capability"] = hello["cpu_capability"].clone();
        Ok(peer)
    }

    /// Makes a variant of a case ready and warm.
    pub(crate) fn prepare(&mut self, case: &Value, variant: &str) -> anyhow::Result<Prepared> {
        let request = json!({ "op": "prepare", "case": case, "variant": variant });
        let found = self.ask(&request)?;
        let shape = found["shape"].as_array().into_iter().flatten();
        Ok(Prepared {
            shape: shape.filter_map(Value::as_u64).map(|side| side as usize).collect(),
            params: found["params"].as_u64().map(|params| params as usize),
            flops: found["flops"].as_f64(),
        })
    }

    /// What one of `repeat` iterations took.
    pub(crate) fn sample(&mut self, variant: &str, repeat: usize) -> anyhow::Result<f64> {
        let answer = self.ask(&json!({ "op": "sample", "variant": variant, "repeat": repeat }))?;
        answer["value"].as_f64().context("expected a number from Python, found none")
    }

    /// Forgets what was prepared.
    pub(crate) fn drop_prepared(&mut self) -> anyhow::Result<()> {
        self.ask(&json!({ "op": "drop" })).map(drop)
    }

    fn ask(&mut self, request: &Value) -> anyhow::Result<Value> {
        let sent = match &mut self.requests {
            Some(requests) => writeln!(requests, "{request}").and_then(|()| requests.flush()),
            None => Ok(()),
        };
        let mut line = String::new();
        let read = self.answers.read_line(&mut line);
        if sent.is_err() || !matches!(read, Ok(1..)) {
            return Err(anyhow!("Python ended: {}", self.last_words()));
        }
        let answer: Value = serde_json::from_str(&line)
            .with_context(|| format!("expected JSON from Python, found {:?}", line.trim()))?;
        match answer["error"].as_str() {
            Some(error) => bail!("{error}"),
            None => Ok(answer),
        }
    }

    fn last_words(&mut self) -> String {
        let status = self.child.wait().map_or_else(|e| e.to_string(), |s| s.to_string());
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let last = log.lines().rfind(|line| !line.trim().is_empty());
        last.map_or(status, |line| line.trim().to_owned())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It ends when there is nothing more to read.
        self.requests = None;
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.log);
    }
}

/// The interpreter of a virtual environment below `folder`, which is made if it is not there.
fn environment(folder: &Path) -> anyhow::Result<PathBuf> {
    let venv = folder.join(format!("venv-{}", env!("CARGO_PKG_VERSION")));
    let (python, complete) = (venv.join("bin").join("python"), venv.join("complete"));
    if std::fs::read_to_string(&complete).is_ok_and(|installed| installed == REQUIREMENTS) {
        return Ok(python);
    }
    let requirements = folder.join("requirements.txt");
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&requirements, REQUIREMENTS))
        .with_context(|| format!("cannot write (path: {})", requirements.display()))?;
    note(format_args!("installing PyTorch into {} (some 7 GB, once)", venv.display()));
    let mut make = Command::new("python3");
    make.args(["-m", "venv"]).arg(&venv);
    finish(&mut make).context(
        "cannot make a virtual environment for PyTorch; install Python 3.10 or newer with its \
         `venv`, or name an interpreter that has PyTorch with --python PATH",
    )?;
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(&requirements);
    finish(&mut install)
        .context("cannot install PyTorch; name an interpreter that has it with --python PATH")?;
    std::fs::write(&complete, REQUIREMENTS)
        .with_context(|| format!("cannot write (path: {})", complete.display()))?;
    Ok(python)
}

fn finish(command: &mut Command) -> anyhow::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("no `{program}`"))?;
    if output.status.success() {
        return Ok(());
    }
    let error = String::from_utf8_lossy(&output.stderr);
    let last = error.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    bail!("`{program}` failed: {}", last.trim())
}
