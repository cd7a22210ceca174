//! The house rules as tests: who may import whom, how long a file may be, what must be documented.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Who may import whom. One not listed is forbidden; `tests/` may import all.
const LAYERS: &[(&str, &[&str])] = &[
    ("engraft-core", &[]),
    ("engraft-kernels", &[]),
    ("engraft-backbones", &["engraft-core", "engraft-kernels"]),
    ("engraft-datasets", &["engraft-core"]),
    ("engraft-wire", &["engraft-core"]),
    ("engraft-sim", &["engraft-core"]),
    ("engraft-viz", &["engraft-core"]),
    ("engraft-policies", &["engraft-backbones", "engraft-core", "engraft-kernels"]),
    ("engraft-train", &["engraft-core", "engraft-datasets", "engraft-kernels", "engraft-policies"]),
    ("engraft-client", &["engraft-core", "engraft-wire"]),
    ("engraft-serve", &["engraft-core", "engraft-policies", "engraft-wire"]),
    ("firmware-bridge", &["engraft-core", "engraft-sim", "engraft-wire"]),
    (
        "engraft",
        &[
            "engraft-backbones",
            "engraft-client",
            "engraft-core",
            "engraft-datasets",
            "engraft-kernels",
            "engraft-policies",
            "engraft-serve",
            "engraft-sim",
            "engraft-train",
            "engraft-viz",
            "engraft-wire",
            "firmware-bridge",
        ],
    ),
];

/// Libraries that stay inside the crates named, so that what is heavy stays a leaf.
const KEPT_INSIDE: &[(&str, &[&str])] = &[
    (
        "burn",
        &[
            "engraft-backbones",
            "engraft-kernels",
            "engraft-policies",
            "engraft-train",
            "engraft-serve",
            "engraft",
        ],
    ),
    ("rerun", &["engraft-viz"]),
    ("zmq", &["engraft-wire"]),
    ("tracing-subscriber", &["engraft"]),
    ("tungstenite", &["engraft-serve"]),
    ("rmpv", &["engraft-wire"]),
    ("rmp-serde", &["engraft-wire"]),
    ("parquet", &["engraft-datasets"]),
    ("arrow-array", &["engraft-datasets"]),
    ("re_rav1d", &["engraft-datasets"]),
    ("rust_h264", &["engraft-datasets"]),
    ("hdf5-pure", &["engraft-datasets"]),
    ("rapier3d", &["engraft-sim"]),
    ("franka-rs", &["firmware-bridge"]),
    ("anyhow", &["engraft", "firmware-bridge"]),
];

/// Longest file of code, in lines.
const MAX_LINES: usize = 500;

/// Largest committed file, in bytes.
const MAX_BYTES: u64 = 1 << 20;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// What cargo knows: of our packages alone, or of all that this machine builds.
fn metadata(more: &[&str]) -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .args(more)
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON")
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// Name, and direct dependencies that are not for tests alone, of each package of ours.
fn dependencies(metadata: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let members: Vec<&str> = metadata["workspace_members"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let ours = metadata["packages"].as_array().unwrap().iter();
    ours.filter(|package| members.contains(&text(package, "id")))
        .map(|package| {
            let direct = package["dependencies"].as_array().unwrap().iter();
            let direct = direct.filter(|dependency| text(dependency, "kind") != "dev");
            (
                text(package, "name").to_owned(),
                direct.map(|dependency| text(dependency, "name").to_owned()).collect(),
            )
        })
        .collect()
}

/// Files that git tracks, relative to the root.
fn tracked() -> Vec<PathBuf> {
    let output = Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(root())
        .output()
        .expect("git runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout).expect("names are UTF-8");
    let files = names.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from);
    files.filter(|file| root().join(file).is_file()).collect()
}

fn tracked_with(extension: &str) -> Vec<(PathBuf, String)> {
    let files =
        tracked().into_iter().filter(|file| file.extension().is_some_and(|e| e == extension));
    files.map(|file| (file.clone(), std::fs::read_to_string(root().join(&file)).unwrap())).collect()
}

#[test]
fn imports_point_down_the_layers_only() {
    let found = dependencies(&metadata(&["--no-deps"]));
    let layers: BTreeMap<&str, &[&str]> = LAYERS.iter().copied().collect();
    let unknown: Vec<_> = found.keys().filter(|name| !layers.contains_key(name.as_str())).collect();
    assert!(unknown.is_empty(), "packages without a layer: {unknown:?}");
    for (package, dependencies) in &found {
        for dependency in dependencies.iter().filter(|name| layers.contains_key(name.as_str())) {
            assert!(
                layers[package.as_str()].contains(&dependency.as_str()),
                "{package} must not import {dependency}"
            );
        }
    }
}

#[test]
fn heavy_libraries_stay_inside_their_crates() {
    let found = dependencies(&metadata(&["--no-deps"]));
    for (library, allowed) in KEPT_INSIDE {
        for (package, _) in found.iter().filter(|(_, all)| all.contains(*library)) {
            assert!(allowed.contains(&package.as_str()), "{package} must not depend on {library}");
        }
    }
}

#[test]
fn the_firmware_bridge_never_sees_burn() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--package", "firmware-bridge"])
        .args(["--edges", "normal,build", "--prefix", "none"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8_lossy(&output.stdout);
    assert!(tree.contains("zmq"), "the tree is not that of firmware-bridge:\n{tree}");
    let burn: Vec<_> = tree.lines().filter(|line| line.starts_with("burn")).collect();
    assert!(burn.is_empty(), "firmware-bridge depends on {burn:?}");
}

#[test]
fn every_dependency_is_listed_with_its_reason() {
    let architecture = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let mut missing = BTreeSet::new();
    for dependency in dependencies(&metadata(&["--no-deps"])).into_values().flatten() {
        let ours = LAYERS.iter().any(|(name, _)| *name == dependency);
        if !ours && !architecture.contains(&format!("| `{dependency}`")) {
            missing.insert(dependency);
        }
    }
    assert!(missing.is_empty(), "ARCHITECTURE.md has no row for {missing:?}");
}

#[test]
fn licences_of_all_dependencies_are_allowed() {
    let deny: toml::Value =
        toml::from_str(&std::fs::read_to_string(root().join("deny.toml")).unwrap()).unwrap();
    let allowed: Vec<&str> =
        deny["licenses"]["allow"].as_array().unwrap().iter().filter_map(|v| v.as_str()).collect();
    let fits = |expression: &str| {
        // `A OR B` needs one side, `A AND B` both; parentheses do not nest in practice.
        let clean = expression.replace(['(', ')'], " ").replace('/', " OR ");
        clean.split(" AND ").all(|all| all.split(" OR ").any(|one| allowed.contains(&one.trim())))
    };
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let metadata = metadata(&["--filter-platform", &host]);
    let mut refused = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        let licence = text(package, "license");
        let own_text = licence.is_empty() && package["license_file"].is_string();
        if !(fits(licence) || own_text) {
            refused.push(format!("{}: {licence:?}", text(package, "name")));
        }
    }
    assert!(refused.is_empty(), "licences that deny.toml does not allow: {refused:#?}");
}

#[test]
fn files_are_short_enough_to_read() {
    for (file, code) in tracked_with("rs") {
        let lines = code.lines().count();
        assert!(lines <= MAX_LINES, "{} has {lines} lines, at most {MAX_LINES}", file.display());
    }
    for file in tracked() {
        let bytes = std::fs::metadata(root().join(&file)).unwrap().len();
        assert!(bytes <= MAX_BYTES, "{} has {bytes} bytes, at most {MAX_BYTES}", file.display());
    }
}

#[test]
fn every_file_of_code_says_what_it_is() {
    for (file, code) in tracked_with("rs") {
        assert!(code.starts_with("//!"), "{} has no `//!` docs", file.display());
    }
}

#[test]
fn nothing_is_left_unfinished() {
    // Spelled in two halves, so that this file does not find itself.
    let marks = [["to", "do!("], ["unimple", "mented!("], ["db", "g!("]].map(|half| half.concat());
    for (file, code) in tracked_with("rs") {
        for mark in &marks {
            assert!(!code.contains(mark.as_str()), "{} contains {mark}", file.display());
        }
        let bare = ["#[ig", "nore]"].concat();
        assert!(!code.contains(&bare), "{} ignores a test without a reason", file.display());
    }
}

#[test]
fn no_path_of_one_machine_is_committed() {
    let marks = [["/wo", "rk/"], ["../sha", "red"], ["/ro", "ot/"]].map(|half| half.concat());
    for extension in ["rs", "md", "toml", "py", "sh"] {
        for (file, code) in tracked_with(extension) {
            for mark in &marks {
                assert!(!code.contains(mark.as_str()), "{} contains {mark}", file.display());
            }
        }
    }
}

#[test]
fn links_between_documents_lead_somewhere() {
    for (file, page) in tracked_with("md") {
        let folder = root().join(file.parent().unwrap_or(Path::new("")));
        for link in page.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            assert!(folder.join(target).exists(), "{} links to {link}", file.display());
        }
    }
}
