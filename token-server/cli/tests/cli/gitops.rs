//! The example of deploy/kubernetes/gitops.yaml: clients from a ConfigMap, applied by a Job.

use std::fs;

use saphyr::{LoadableYamlNode as _, Yaml};

use crate::harness::Dev;

const EXAMPLE: &str = include_str!("../../../deploy/kubernetes/gitops.yaml");

/// Returns the file in the ConfigMap, and the arguments of the Job with the paths that its volumes have here.
fn example(dev: &Dev) -> (String, Vec<String>) {
    let documents = Yaml::load_from_str(EXAMPLE).unwrap();
    let of_kind = |kind: &str| documents.iter().find(|document| document["kind"].as_str() == Some(kind)).unwrap();
    let declared = of_kind("ConfigMap")["data"]["clients.toml"].as_str().unwrap().to_owned();
    let container = &of_kind("Job")["spec"]["template"]["spec"]["containers"][0];
    let here = |argument: &Yaml<'_>| {
        let argument = argument.as_str().unwrap();
        let argument = argument.replace("https://tokens.example.com", &dev.issuer);
        let argument = argument.replace("/etc/token-server-ca/ca.pem", dev.state("ca.pem").to_str().unwrap());
        let argument = argument.replace("/etc/gitops/secret", "gitops.secret");
        argument.replace("/etc/declared/clients.toml", "clients.toml")
    };
    let arguments = container["args"].as_vec().unwrap().iter().map(here).collect();
    (declared, arguments)
}

#[test]
fn job_applies_the_clients_and_logs_no_secret() {
    let dev = Dev::start();
    let (declared, arguments) = example(&dev);
    fs::write(dev.home.path().join("clients.toml"), &declared).unwrap();
    let grant = "m2m.admin.v1=clients.read,clients.write";
    let created = dev.run(&["client", "create", "gitops", "--grant", grant, "--json"]);
    let created: serde_json::Value = serde_json::from_str(&created.stdout).unwrap();
    fs::write(dev.home.path().join("gitops.secret"), created["client_secret"].as_str().unwrap()).unwrap();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();

    // The client of operators is declared as it is, so the job does not change it.
    assert_eq!(dev.run(&["client", "update", "token-admin", "--name", ""]).code, 0);

    let undeclared = dev.run(&["client", "create", "reports", "--grant", "inventory=inventory.read"]);
    assert_eq!(undeclared.code, 0, "{}", undeclared.stderr);
    let applied = dev.run(&arguments);
    assert_eq!(applied.code, 0, "{}", applied.stderr);
    assert!(applied.stdout.contains("~ orders: ") && applied.stdout.contains("- reports\n"), "{}", applied.stdout);
    assert!(!applied.stdout.contains("tks_") && !applied.stderr.contains("tks_"), "{}", applied.stdout);
    for (client, code) in [("gitops", 0), ("token-admin", 0), ("orders", 0), ("reports", 5)] {
        assert_eq!(dev.run(&["client", "show", client]).code, code, "{client}");
    }
    let again = dev.run(&arguments);
    assert_eq!((again.code, again.stdout.as_str()), (0, ""), "{}", again.stderr);

    // A client that is declared later is new, and has no secret.
    let later = declared.replace("id = \"orders\"", "id = \"shipping\"");
    fs::write(dev.home.path().join("clients.toml"), later).unwrap();
    let applied = dev.run(&arguments);
    assert_eq!((applied.code, applied.stdout.as_str()), (0, "+ shipping\n- orders\n"), "{}", applied.stderr);
    let shown = dev.run(&["client", "show", "shipping", "--json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(shown["credentials"].as_array().map_or(0, Vec::len), 0, "{shown}");
}
