//! The commands of the READMEs, as written.

use std::fs;
use std::path::Path;

use crate::support::Lab;

/// The lines of a README's `sh` blocks.
fn commands(readme: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(readme);
    let readme = fs::read_to_string(path).unwrap();
    let blocks = readme.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.flat_map(str::lines).map(str::to_owned).collect()
}

#[test]
fn the_two_commands_are_the_ones_that_are_tested() {
    let commands = commands("README.md");
    assert_eq!(commands[0], "cargo run --release -- quickstart");
    assert_eq!(commands[1], "cargo test --workspace");
}

#[test]
fn every_engraft_command_of_the_readmes_is_one() {
    let lab = Lab::new();
    let all = ["README.md", "firmware-bridge/README.md", "crates/client/python/README.md"];
    let all: Vec<String> = all.into_iter().flat_map(commands).collect();
    for line in all.iter().filter(|line| line.starts_with("engraft ")) {
        let verbs: Vec<&str> =
            line.split(' ').skip(1).take_while(|word| !word.starts_with("--")).collect();
        let nested = matches!(verbs.first(), Some(&("weights" | "data" | "import" | "keys")));
        let verb = verbs[..if nested { 2 } else { 1 }].join(" ");
        let help = lab.succeed(&format!("{verb} --help"));
        for flag in line.split(' ').filter(|word| word.starts_with("--")) {
            assert!(help.contains(flag), "`{line}`: {verb} has no {flag}");
        }
    }
}

/// The quick start in a few seconds: what `cargo run --release -- quickstart` runs, with less of
/// everything. Where the trained weights are here it trains a SpawnNet too.
#[test]
fn the_quick_start_runs_to_its_report() {
    let lab = Lab::new();
    let said = lab.succeed("quickstart --minutes 0.1 --offline --out out");
    let out = lab.path().join("out");
    assert!(said.contains("report         out/report.html"), "{said}");
    let report = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(report.contains("<svg") && report.contains("data:image/png"), "no pictures");
    let markdown = fs::read_to_string(out.join("report.md")).unwrap();
    assert!(markdown.contains("| LfS |"), "{markdown}");
    assert!(fs::read(out.join("rollout.rrd")).unwrap().starts_with(b"RRF2"));
    assert!(fs::read(out.join("contact-sheet.png")).unwrap().starts_with(b"\x89PNG"));
    if std::env::var_os("ENGRAFT_TEST_WEIGHTS").is_some() {
        assert!(markdown.contains("| SpawnNet |"), "{markdown}");
        assert!(fs::read(out.join("attention.png")).unwrap().starts_with(b"\x89PNG"));
    }
}
