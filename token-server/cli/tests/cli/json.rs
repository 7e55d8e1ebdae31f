//! The lines of the page about JSON over HTTP, run with curl.

use std::process::Command;

use serde_json::Value;

use crate::harness::Dev;

const PAGE: &str = include_str!("../../../docs/operations/json.md");

#[test]
fn every_line_of_the_page_works() {
    let dev = Dev::start();
    let lines = PAGE.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    // Each answer on a line of its own.
    let lines = lines.replace("--cacert", "--write-out '\\n' --cacert");
    let output = Command::new("sh").args(["-euc", &lines]).current_dir(dev.home.path()).output().unwrap();
    let (told, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "curl must be installed: {errors}\n{told}");
    let answers: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let [posted, got, created, added, deleted, records, keys, health] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!(posted["clients"].as_array().unwrap().len(), 2);
    assert_eq!(posted, got, "POST and GET answer alike");
    assert_eq!(created["client"]["clientId"], "billing");
    assert_ne!(created["clientSecret"], added["clientSecret"]);
    assert_eq!(deleted, &serde_json::json!({}));
    assert!(records["records"][0]["action"].is_string(), "{records}");
    assert!(keys["keys"][0]["keyId"].is_string(), "{keys}");
    assert_eq!(health["status"], "SERVING");
}
