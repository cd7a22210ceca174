//! The whole line on a small scale: record, train, resume, evaluate, serve, drive, look.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Lab, RECIPE};

fn weights(lab: &Lab, run: &str, which: &str) -> Vec<u8> {
    fs::read(lab.path().join(run).join(which).join("model.safetensors")).unwrap()
}

/// Steps whose state is on disk.
fn saved_steps(run: &Path) -> usize {
    let Ok(entries) = fs::read_dir(run.join("state")) else { return 0 };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("step-")).count()
}

#[test]
fn a_killed_run_resumes_to_the_same_weights_bit_for_bit() {
    let lab = Lab::new();
    lab.record(4);
    lab.write("recipe.toml", RECIPE);
    lab.succeed("train recipe.toml --data data --out whole --plain");

    let mut killed = lab
        .command("train recipe.toml --data data --out killed --plain")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while saved_steps(&lab.path().join("killed")) == 0 {
        assert!(began.elapsed() < Duration::from_mins(2), "the run never saved its state");
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(killed.try_wait().unwrap().is_none(), "the run ended before it could be killed");
    killed.kill().unwrap(); // SIGKILL: nothing is told, nothing is flushed
    killed.wait().unwrap();
    assert_ne!(
        fs::read(lab.path().join("killed/last/model.safetensors")).unwrap_or_default(),
        weights(&lab, "whole", "last"),
        "the run was killed too late to say anything"
    );

    let again = lab.run("train recipe.toml --data data --out killed --plain");
    assert_eq!(again.status.code(), Some(2), "a run is not begun over another");
    lab.succeed("train recipe.toml --data data --out killed --plain --resume");
    for which in ["last", "best"] {
        assert_eq!(weights(&lab, "killed", which), weights(&lab, "whole", which), "{which}");
    }
}

#[test]
fn two_devices_come_to_what_one_comes_to() {
    let lab = Lab::new();
    lab.record(3);
    lab.write("recipe.toml", RECIPE);
    let train = |words: &str| {
        let said = lab.succeed(&format!("train recipe.toml --data data --plain {words}"));
        let (_, said) = said.split_once(" s on ").unwrap();
        said.split_once(", best validation ").map(|(on, loss)| (on.into(), loss.into())).unwrap()
    };
    let (on, loss): (String, String) = train("--out one --steps 30");
    let (on_two, loss_two) = train("--out two --steps 30 --devices cpu,cpu");
    assert_eq!((on.as_str(), on_two.as_str()), ("cpu", "cpu, cpu"));
    assert_eq!(loss, loss_two);
}

#[test]
fn frozen_features_in_int8_are_trained_on_and_asked_for() {
    let lab = Lab::new();
    lab.record(3);
    let (common, _) = RECIPE.split_once("[policy]").unwrap();
    let write = |backbone: &str| {
        let policy = "[policy]\nkind = 'frozen'\npool = 'mean'\nhead = { hidden = [16] }";
        lab.write("recipe.toml", &format!("{common}{policy}\n[policy.backbone]\n{backbone}"));
    };
    let train = "train recipe.toml --data data --plain --steps 4 --out";
    write("architecture = 'mobilenet-v2'\ntaps = ['stage_14']\nprecision = 'int8'");
    lab.succeed(&format!("{train} run"));
    let config = fs::read_to_string(lab.path().join("run/last/config.json")).unwrap();
    assert!(config.contains("\"precision\": \"int8\""), "{config}");
    let told = "frozen features in single precision, the run was trained on int8";
    let eval = |flag: &str| {
        let output = lab.run(&format!("eval run --data data --json {flag}"));
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap().contains(told);
        (serde_json::from_slice::<Value>(&output.stdout).unwrap(), said)
    };
    let (int8, said) = eval("");
    assert!(!said);
    assert_eq!(eval("--frozen int8"), (int8.clone(), false));
    let (single, said) = eval("--frozen single");
    assert!(said);
    let mse = |report: &Value| report["relative_mse"].as_f64().unwrap();
    assert!((mse(&int8) / mse(&single) - 1.0).abs() < 0.05, "{int8} {single}");
    assert_ne!(int8, single);

    write("architecture = 'mobilenet-v2'\nfine_tune = true\nprecision = 'int8'");
    let output = lab.run(&format!("{train} tuned"));
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("expected a frozen backbone, found `fine_tune = true`"), "{error}");
    lab.write("recipe.toml", RECIPE);
    lab.succeed(&format!("{train} hansen"));
    let error = lab.fail("eval hansen --data data --frozen int8");
    assert!(error.contains("a hansen policy has no backbone"), "{error}");
}

#[test]
fn demonstrations_become_an_arm_that_moves() {
    let lab = Lab::new();
    lab.record(4);
    let info: Value =
        serde_json::from_str(&lab.succeed("data inspect data --json --check")).unwrap();
    assert_eq!((info["num_episodes"].as_u64(), info["fps"].as_f64()), (Some(4), Some(10.0)));
    assert_eq!(info["problems"], serde_json::json!([]));
    let shown = lab.succeed("data show data --episode 1 --step 2 --json --png step.png");
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["action"].as_array().unwrap().len(), 7);
    assert!(png(&lab.path().join("step.png")));

    lab.write("recipe.toml", RECIPE);
    lab.succeed("train recipe.toml --data data --out run --plain --steps 40");

    let open: Value = serde_json::from_str(&lab.succeed("eval run --data data --json")).unwrap();
    assert!(open["relative_mse"].as_f64().unwrap() < 1.5, "{open}");
    let closed = "eval run --sim drawer --split heldout --episodes 3 --seed 5 --json";
    let closed = [lab.succeed(closed), lab.succeed(closed)];
    assert_eq!(closed[0], closed[1], "the same episodes come out the same");
    let closed: Value = serde_json::from_str(&closed[0]).unwrap();
    lab.succeed("eval run --sim drawer --episodes 1 --save first.rrd --png first.png");
    assert_eq!(closed["episodes"].as_array().unwrap().len(), 3);

    serve_and_drive(&lab);
    follow(&lab);

    lab.succeed("view rollout.log --png sheet.png --save rollout.rrd");
    lab.succeed("view data --episode 0 --png demonstration.png --save data.rrd");
    lab.succeed("view run --save run.rrd");
    for name in ["sheet.png", "demonstration.png", "first.png"] {
        assert!(png(&lab.path().join(name)), "{name}");
    }
    for name in ["rollout.rrd", "data.rrd", "run.rrd", "first.rrd", "followed.rrd"] {
        let bytes = fs::read(lab.path().join(name)).unwrap();
        assert!(bytes.starts_with(b"RRF2") && bytes.len() > 10_000, "{name}: {}", bytes.len());
    }
}

fn png(path: &Path) -> bool {
    fs::read(path).unwrap().starts_with(b"\x89PNG\r\n\x1a\n")
}

/// Shows a log while it grows, until a signal comes.
fn follow(lab: &Lab) {
    let mut view = lab.command("view rollout.log --follow --save followed.rrd").spawn().unwrap();
    let recording = lab.path().join("followed.rrd");
    let began = Instant::now();
    while fs::metadata(&recording).map_or(0, |file| file.len()) < 10_000 {
        assert!(began.elapsed() < Duration::from_mins(1), "nothing was recorded");
        std::thread::sleep(Duration::from_millis(20));
    }
    terminate(view.id());
    assert!(view.wait().unwrap().success(), "SIGTERM ends it without an error");
}

fn terminate(process: u32) {
    let status = Command::new("kill").args(["-TERM", &process.to_string()]).status();
    assert!(status.unwrap().success());
}

/// Serves `run` in one process and drives the arm from another, with a newer run in its place.
fn serve_and_drive(lab: &Lab) {
    let log = fs::File::create(lab.path().join("serve.jsonl")).unwrap();
    let mut server = lab
        .command("serve run --bind tcp://127.0.0.1:* --allow-reload --json")
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let endpoint = line.trim_end().rsplit(' ').next().unwrap().to_owned();
    assert!(endpoint.starts_with("tcp://127.0.0.1:"), "{line:?}");

    let status = format!("status {endpoint} --json");
    let hash = |told: &str| {
        let status: Value = serde_json::from_str(told).unwrap();
        status["status"]["model"]["hash"].as_str().unwrap().to_owned()
    };
    let before = hash(&lab.succeed(&status));
    lab.succeed("train recipe.toml --data data --out newer --plain --steps 41");
    fs::rename(lab.path().join("run"), lab.path().join("older")).unwrap();
    let error = lab.fail(&format!("reload {endpoint}"));
    assert!(error.contains("the policy server refuses: INTERNAL"), "{error}");
    fs::rename(lab.path().join("newer"), lab.path().join("run")).unwrap();
    assert!(lab.succeed(&format!("reload {endpoint}")).contains("answers now"));
    assert_ne!(hash(&lab.succeed(&status)), before, "the newer run answers");

    let drive =
        format!("bridge --policy {endpoint} --fast --split heldout --log rollout.log --json");
    let summary: Value = serde_json::from_str(&lab.succeed(&drive)).unwrap();
    assert_eq!(summary["episodes"].as_array().unwrap().len(), 1, "{summary}");
    assert!(summary["chunks"].as_u64().unwrap() > 0, "{summary}");

    terminate(server.id());
    assert!(server.wait().unwrap().success(), "SIGTERM ends the server without an error");
    let log = fs::read_to_string(lab.path().join("serve.jsonl")).unwrap();
    let events: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let messages: Vec<&str> = events.iter().filter_map(|event| event["message"].as_str()).collect();
    for expected in ["serving", "a client came", "another model answers", "stopped"] {
        assert!(messages.contains(&expected), "no `{expected}` in {messages:?}");
    }
    let stopped = events.last().unwrap();
    assert_eq!(stopped["answered"], summary["chunks"], "{stopped}");
}
