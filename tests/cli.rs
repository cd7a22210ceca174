//! What people read when something is not as it should be: one line, and what to type next.

use crate::support::{Lab, RECIPE};

#[test]
fn every_verb_has_help() {
    let lab = Lab::new();
    let verbs = "quickstart weights data record train eval import predict serve status reload keys \
                 bridge teleop-record replay view bench";
    for verb in verbs.split(' ') {
        let help = lab.succeed(&format!("{verb} --help"));
        assert!(help.contains("Usage: engraft"), "{verb}: {help}");
    }
}

#[test]
fn what_is_not_there_is_named_with_what_to_type_next() {
    let lab = Lab::new();
    let error = lab.fail("eval nowhere --sim drawer");
    assert!(error.contains("engraft train") && error.contains("nowhere"), "{error}");
    let error = lab.fail("data inspect nowhere");
    assert!(error.contains("nowhere"), "{error}");
    let error = lab.fail("train nothing.toml --data data --out run");
    assert!(error.contains("nothing.toml"), "{error}");
    let error = lab.fail("view nowhere --png x.png");
    assert!(error.contains("expected a dataset, a run or a rollout log"), "{error}");
    let error = lab.fail("weights pull no-such-network");
    assert!(error.contains("efficientnet-lite0") && error.contains("no-such-network"), "{error}");
}

#[test]
fn a_server_is_not_exposed_by_mistake_and_one_that_is_not_there_is_named() {
    let lab = Lab::new();
    let error = lab.fail("status tcp://127.0.0.1:9");
    assert!(error.contains("no answer from `tcp://127.0.0.1:9`"), "{error}");
    let error = lab.fail("reload localhost");
    assert!(error.contains("expected tcp://HOST:PORT"), "{error}");
    lab.record(2);
    lab.write("recipe.toml", RECIPE);
    lab.succeed("train recipe.toml --data data --out run --plain --steps 1");
    let error = lab.fail("serve run --bind tcp://*:5555");
    assert!(error.contains("--curve-key") && error.contains("--insecure-plaintext"), "{error}");
}

#[test]
fn keys_are_made_where_zeromq_has_curve_and_elsewhere_asking_for_them_fails_at_once() {
    let lab = Lab::new();
    if !engraft_wire::has_curve() {
        for words in ["keys new robot", "status --server-key a.key --client-key b.key_secret"] {
            let error = lab.fail(words);
            assert!(error.contains("crates/wire/system-zmq.toml"), "{error}");
        }
        return;
    }
    let made = lab.succeed("keys new robot");
    assert_eq!(made, "robot.key\nrobot.key_secret\n");
    let shown = lab.succeed("keys show robot.key");
    assert!(shown.ends_with("  robot.key\n") && shown.len() == 40 + 12, "{shown}");
    assert!(lab.fail("keys new robot").contains("robot.key_secret"));
    assert!(lab.fail("keys show nowhere.key").contains("nowhere.key"));
}

#[test]
fn a_misspelt_key_in_a_recipe_is_named_with_its_line() {
    let lab = Lab::new();
    lab.write("recipe.toml", &RECIPE.replace("batch_size", "batchsize"));
    let error = lab.fail("train recipe.toml --data data --out run");
    assert!(error.contains("batchsize") && error.contains("line"), "{error}");
}

#[test]
fn a_recipe_without_data_asks_for_it() {
    let lab = Lab::new();
    lab.write("recipe.toml", RECIPE);
    let error = lab.fail("train recipe.toml --out run");
    assert!(error.contains("--data DIR"), "{error}");
}

#[test]
#[cfg(not(feature = "cuda"))]
fn a_backend_that_is_not_built_in_is_named() {
    let lab = Lab::new();
    lab.record(1);
    lab.write("recipe.toml", RECIPE);
    let error = lab.fail("train recipe.toml --data data --out run --device cuda:0");
    assert!(error.contains("--features cuda"), "{error}");
}

#[test]
fn devices_that_cannot_share_a_run_are_named() {
    let lab = Lab::new();
    lab.record(1);
    lab.write("recipe.toml", RECIPE);
    let train = "train recipe.toml --data data --out run";
    let error = lab.fail(&format!("{train} --devices cuda:0,cuda:0"));
    assert!(error.contains("expected each GPU once, found cuda:0 twice"), "{error}");
    let refused = |words: &str| {
        let output = lab.command(&format!("{train} {words}")).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{words}");
        String::from_utf8(output.stderr).unwrap()
    };
    let error = refused("--devices cpu,gpu");
    assert!(error.contains("expected cpu, wgpu[:INDEX] or cuda[:INDEX], found \"gpu\""), "{error}");
    let error = refused("--devices= ");
    assert!(error.contains("found \"\""), "{error}");
    let error = refused("--device cpu --devices cpu,cpu");
    assert!(error.contains("cannot be used with"), "{error}");
    assert!(!lab.path().join("run").exists());
}

#[test]
fn an_episode_or_step_that_is_not_there_says_which_there_are() {
    let lab = Lab::new();
    lab.record(2);
    let error = lab.fail("data show data --episode 7");
    assert!(error.contains("no episode 7: expected 0 to 1"), "{error}");
    let error = lab.fail("data show data --step 1000");
    assert!(error.contains("no step 1000: expected 0 to"), "{error}");
}

#[test]
fn nothing_is_written_over() {
    let lab = Lab::new();
    lab.record(1);
    let error = lab.fail("record --sim drawer --episodes 1 --out data");
    assert!(error.contains("data"), "{error}");
    let error = lab.fail("quickstart --out data");
    assert!(error.contains("expected a new or empty folder"), "{error}");
}

#[test]
fn words_that_clap_refuses_list_what_there_is() {
    let lab = Lab::new();
    let output = lab.run("record --sim window --out data");
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(error.contains("expected drawer or door, found `window`"), "{error}");
    let output = lab.run("eval run --data data --frozen half");
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(error.contains("unknown variant `half`, expected `single` or `int8`"), "{error}");
}

#[test]
fn a_benchmark_without_python_measures_our_side_and_says_under_which_conditions() {
    let lab = Lab::new();
    let words = "bench --quick --threads 1 --only step/hansen/96-b8 --json b.json --figure b.svg";
    let table = lab.succeed(words);
    assert!(table.contains("step/hansen/96-b8"), "{table}");
    let text = std::fs::read_to_string(lab.path().join("b.json")).unwrap();
    let rows: serde_json::Value = serde_json::from_str(&text).unwrap();
    let row = &rows[0];
    assert_eq!(rows.as_array().map(Vec::len), Some(1));
    assert_eq!((&row["name"], &row["threads"]), (&"step/hansen/96-b8".into(), &1.into()));
    assert_eq!((&row["quick"], &row["ratio"]), (&true.into(), &serde_json::Value::Null));
    assert!(row["engraft"]["median"].as_f64().is_some_and(|secs| secs > 0.0), "{row}");
    assert_eq!(row["shape"], serde_json::json!([8, 8, 7]));
    assert!(row["cpu"].is_string() && row["versions"]["engraft"].is_string(), "{row}");
    let figure = std::fs::read_to_string(lab.path().join("b.svg")).unwrap();
    assert!(figure.starts_with("<svg") && figure.contains("nothing to compare"));
}

#[test]
fn a_benchmark_that_cannot_be_says_what_to_type() {
    let lab = Lab::new();
    let error = lab.fail("bench --only no-such-case");
    assert!(error.contains("engraft bench --list"), "{error}");
    let listed = lab.succeed("bench --list --only latency/");
    assert_eq!(listed.lines().next(), Some("latency/lfs/224"));
    let words = "bench --quick --only step/hansen --against pytorch --python no-such-python";
    let output = lab.command(words).env("ENGRAFT_CACHE", lab.path()).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    let last = error.lines().last().unwrap_or_default();
    assert_eq!(output.status.code(), Some(2));
    assert!(last.contains("cannot start Python") && last.contains("no-such-python"), "{error}");
}
