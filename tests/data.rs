//! The verbs of `engraft data`, as a person types them.

use std::fs;

use serde_json::Value;

use crate::support::{Lab, RECIPE};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_dataset_goes_through_every_format_and_stays_the_same() {
    let lab = Lab::new();
    lab.record(3);
    let text = lab.succeed("data inspect data");
    for line in ["read as   --proprio observation.state", "--view front=observation.images.front"] {
        assert!(text.contains(line), "{text}");
    }
    let said = lab.succeed("data convert data --to robomimic --out set.hdf5");
    assert!(said.contains("every number and every pixel is the same"), "{said}");
    let said = lab.succeed("data convert set.hdf5 --to lerobot-v2.1 --out again --modality");
    assert!(said.contains("every number and every pixel is the same"), "{said}");
    assert!(lab.path().join("again/meta/modality.json").is_file());
    let [first, last] =
        ["data", "again"].map(|dir| json(&lab.succeed(&format!("data stats {dir} --json"))));
    assert_eq!(first["proprio"], last["proprio"]);
    assert_eq!(first["actions"], last["actions"]);

    let merged = lab.succeed("data merge data again --out both");
    assert!(merged.contains("both: 6 episodes"), "{merged}");
    let parts = lab.succeed("data split both --part a=50% --part b=50%");
    assert!(parts.contains("a: 3 episodes") && parts.contains("b: 3 episodes"), "{parts}");
    let listed = lab.succeed("data split both --part c=0-1,5 --format v2.1");
    assert!(listed.contains("c: 3 episodes"), "{listed}");
    lab.succeed("data view c --episode 0 --png sheet.png");
    assert!(lab.path().join("sheet.png").is_file());
}

#[test]
fn the_doctor_finds_what_is_wrong_and_mends_it_elsewhere() {
    let lab = Lab::new();
    lab.record(3);
    let healthy = lab.succeed("data doctor data");
    assert!(healthy.contains("0 errors, 0 warnings"), "{healthy}");
    // A recording that was killed before its file was whole, and a total that lies.
    let file = lab.path().join("data/data/chunk-000/file-001.parquet");
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    let info = lab.path().join("data/meta/info.json");
    let text = fs::read_to_string(&info).unwrap();
    fs::write(&info, text.replace("\"total_episodes\": 3", "\"total_episodes\": 30")).unwrap();

    let output = lab.run("data doctor data --json");
    assert_eq!(output.status.code(), Some(1));
    let found = json(&String::from_utf8(output.stdout).unwrap());
    let findings = found["diagnosis"]["findings"].as_array().unwrap();
    let names: Vec<&str> = findings.iter().map(|one| one["check"].as_str().unwrap()).collect();
    assert!(names.contains(&"unreadable-episode"), "{names:?}");
    assert!(findings.iter().any(|one| one["episode"] == 1), "{findings:?}");

    let mended = lab.succeed("data doctor data --repair mended");
    assert!(mended.contains("left out episode 1"), "{mended}");
    let healthy = lab.succeed("data doctor mended");
    assert!(healthy.contains("0 errors, 0 warnings"), "{healthy}");
    let error = lab.fail("data doctor data --repair mended");
    assert!(error.contains("mended"), "{error}");
}

#[test]
fn a_policy_learns_from_a_foreign_file_whose_columns_are_said() {
    let lab = Lab::new();
    lab.record(4);
    lab.succeed("data convert data --to robomimic --out set.hdf5 --size 32");
    let recipe = RECIPE.replace("[optimizer]", "[data]\nsize = [24, 24]\n[optimizer]");
    lab.write("recipe.toml", &recipe);
    for cache in ["ram", "disk", "none"] {
        lab.succeed(&format!(
            "train recipe.toml --data set.hdf5 --out {cache} --steps 20 --cache {cache}"
        ));
    }
    // Where pictures are kept changes nothing.
    let weights =
        |run: &str| fs::read(lab.path().join(run).join("last/model.safetensors")).unwrap();
    assert!(weights("ram") == weights("disk") && weights("ram") == weights("none"));
    let config = fs::read_to_string(lab.path().join("ram/recipe.toml")).unwrap();
    assert!(config.contains("size = ["), "{config}");
    let report = lab.succeed("eval ram --data set.hdf5 --size 24 --json");
    assert!(json(&report)["num_samples"].as_u64().unwrap() > 0, "{report}");
}

#[test]
fn mistakes_about_columns_are_answered_with_what_there_is() {
    let lab = Lab::new();
    lab.record(1);
    let error = lab.fail("data inspect data --proprio observation.joints");
    assert!(error.contains("observation.joints") && error.contains("observation.state"), "{error}");
    let error = lab.fail("data inspect data --view top=action");
    assert!(error.contains("a column of pictures"), "{error}");
    let error = lab.fail("data split data --part a=0-7");
    assert!(error.contains("there is no episode 7: expected 0 to 0"), "{error}");
    let error = lab.fail("data convert data --to robomimic --out x.hdf5 --modality");
    assert!(error.contains("--modality needs a LeRobot dataset"), "{error}");
    let error = lab.fail("data convert data --out data");
    assert!(error.contains("expected a path that is free, found a dataset"), "{error}");
    let error = lab.fail("data merge data nowhere --out both");
    assert!(error.contains("nowhere"), "{error}");
}
