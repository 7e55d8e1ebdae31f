//! The files shipped beside the program are well-formed, fit the program, and name existing metrics.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use saphyr::{LoadableYamlNode as _, Yaml};
use token_proto::token::v1::ErrorReason;
use token_server::{
    config::{Config, Limits},
    development::Development,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

fn read(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(file)).unwrap()
}

/// Each page of the operator's handbook, with its path.
fn handbook() -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations");
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// cargo reads the manifest of each member, even to build one package.
#[test]
fn image_is_built_from_each_member_of_the_workspace() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let ignored = fs::read_to_string(root.join(".dockerignore")).unwrap();
    let allowed: Vec<&Path> = ignored.lines().filter_map(|line| line.strip_prefix('!')).map(Path::new).collect();
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let members = manifest.split_once("members = [").unwrap().1.split_once(']').unwrap().0;
    let members: Vec<&str> = members.split('"').skip(1).step_by(2).filter(|member| *member != ".").collect();
    assert!(members.contains(&"token-interceptor"), "{members:?}");
    for member in members {
        let copied = allowed.iter().any(|path| Path::new(member).starts_with(path));
        assert!(copied, "{member} is missing in .dockerignore: the image cannot be built");
    }
}

fn documents(text: &str) -> Vec<Yaml<'_>> {
    Yaml::load_from_str(text).unwrap()
}

/// Returns the metrics that the server shows from its start, with TLS and a client CA.
async fn metrics() -> BTreeSet<String> {
    let folder = tempfile::tempdir().unwrap();
    let mut development = Development::open(folder.path(), 0).unwrap();
    let config = development.config_mut();
    config.listen.operations_address = Some("127.0.0.1:0".parse().unwrap());
    let tls = config.tls.as_mut().unwrap();
    tls.client_ca = Some(tls.certificate.clone());
    let dev = development.start().await.unwrap();
    let mut shown = String::new();
    // The last metric to appear, after the secrets have been counted.
    while !shown.contains("token_server_client_secrets") {
        let mut stream = TcpStream::connect(dev.server.operations_addr().unwrap()).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
        shown.clear();
        stream.read_to_string(&mut shown).await.unwrap();
    }
    let name = |line: &str| line.split(['{', ' ']).next().unwrap().to_owned();
    let shown = shown.lines().filter(|line| line.starts_with("token_server_")).map(name);
    // A histogram may be named by its own name or by those of its series.
    shown.flat_map(|name| [name.trim_end_matches("_bucket").to_owned(), name]).collect()
}

/// Metrics of the layers that the server uses itself: around the admin API, for proxies, and for identity
/// providers' keys. They are created when they are first counted.
const OF_LAYERS: [&str; 2] = ["token_decisions_total", "token_key_set_fetches_total"];

/// Returns the names of metrics in the sources.
fn registered() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut own, mut layers) = (String::new(), String::new());
    for folder in ["issuer/src", "store/src", "src", "cli/src"] {
        sources(&root.join(folder), &mut own);
    }
    sources(&root.join("../token-interceptor/src"), &mut layers);
    let names = own.split('"').filter(|text| mentioned(text).contains(*text)).map(str::to_owned);
    let mut names: BTreeSet<_> = names.collect();
    // The channel of PostgreSQL's notifications.
    assert!(names.remove("token_server_changes"));
    for name in OF_LAYERS {
        assert!(layers.contains(&format!("\"{name}\"")), "{name}");
        names.insert(name.to_owned());
    }
    names
}

/// Every metric is shown in a dashboard or an alert. A server without requests already exports its zeros.
#[tokio::test]
async fn every_metric_is_in_the_handbook_and_on_the_dashboard_and_there_from_the_start() {
    let (registered, shown) = (registered(), metrics().await);
    assert!(registered.len() > 30, "{registered:?}");
    let handbook: String = handbook().into_iter().map(|(_, text)| text).collect();
    let dashboard = read("grafana/token-server.json");
    let words = |text: &str| -> BTreeSet<String> {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        words.map(|word| word.trim_end_matches("_bucket").to_owned()).collect()
    };
    let lacking = |there: &BTreeSet<String>| registered.difference(there).cloned().collect::<Vec<_>>();
    assert_eq!(lacking(&words(&handbook)), [""; 0], "add these metrics to docs/operations/observe.md");
    assert_eq!(lacking(&words(&dashboard)), [""; 0], "deploy/grafana/token-server.json does not show these");
    let shown = shown.into_iter().chain(OF_LAYERS.map(str::to_owned)).collect();
    assert_eq!(lacking(&shown), [""; 0], "/metrics does not show these from the start on");
}

fn mentioned(text: &str) -> BTreeSet<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c| !word(c)).filter(|word| word.starts_with("token_server_")).map(str::to_owned).collect()
}

#[tokio::test]
async fn dashboard_and_alerts_use_metrics_that_there_are() {
    let there = metrics().await;
    for file in ["grafana/token-server.json", "prometheus-alerts.yaml"] {
        let used = mentioned(&read(file));
        assert!(used.len() >= 4, "{file}: {used:?}");
        let missing: Vec<_> = used.difference(&there).collect();
        assert!(missing.is_empty(), "{file} uses {missing:?}; there are {there:?}");
    }
}

#[test]
fn alerts_use_reasons_that_there_are() {
    let text = read("prometheus-alerts.yaml");
    let mut seen = 0;
    for (at, _) in text.match_indices("reason=") {
        let reasons = text[at..].split('"').nth(1).unwrap();
        for reason in reasons.split('|') {
            assert!(ErrorReason::from_str_name(&format!("ERROR_REASON_{reason}")).is_some(), "{reason}");
            seen += 1;
        }
    }
    assert!(seen >= 4);
}

#[test]
fn alert_rules_are_complete() {
    let text = read("prometheus-alerts.yaml");
    let documents = documents(&text);
    let rules = documents[0]["groups"][0]["rules"].as_vec().unwrap();
    assert!(rules.len() >= 5);
    for rule in rules {
        let name = rule["alert"].as_str().unwrap();
        assert!(!rule["expr"].as_str().unwrap().is_empty(), "{name}");
        assert!(["critical", "warning"].contains(&rule["labels"]["severity"].as_str().unwrap()), "{name}");
        assert!(rule["annotations"]["description"].as_str().is_some(), "{name}");
    }
}

#[test]
fn dashboard_is_json_with_panels_that_do_not_overlap() {
    let dashboard: serde_json::Value = serde_json::from_str(&read("grafana/token-server.json")).unwrap();
    let mut taken = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let at = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(x < 24 && taken.insert((x, y)), "{}", panel["title"]);
            }
        }
        assert!(panel["targets"][0]["expr"].as_str().is_some());
    }
}

#[test]
fn kubernetes_manifests_fit_the_program() {
    let text = read("kubernetes/token-server.yaml");
    let documents = documents(&text);
    let of_kind = |kind: &str| documents.iter().find(|document| document["kind"].as_str() == Some(kind)).unwrap();
    let toml = of_kind("ConfigMap")["data"]["token-server.toml"].as_str().unwrap();
    let folder = tempfile::tempdir().unwrap();
    for name in ["tls.crt", "tls.key"] {
        fs::create_dir_all(folder.path().join("tls")).unwrap();
        fs::write(folder.path().join("tls").join(name), "").unwrap();
    }
    for name in ["sealing.key", "pepper.key"] {
        fs::create_dir_all(folder.path().join("keys")).unwrap();
        fs::write(folder.path().join("keys").join(name), "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=").unwrap();
    }
    let toml = toml.replace("/etc/token-server", folder.path().to_str().unwrap());
    let config = Config::read(Some((Path::new("token-server.toml"), &toml)), []).unwrap();

    let pod = &of_kind("StatefulSet")["spec"]["template"]["spec"];
    let grace = pod["terminationGracePeriodSeconds"].as_integer().unwrap();
    assert!(Duration::from_secs(grace.try_into().unwrap()) > config.limits.drain_deadline);
    assert_eq!(pod["securityContext"]["runAsNonRoot"].as_bool(), Some(true));
    let container = &pod["containers"][0];
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"].as_bool(), Some(true));
    let port = |index: usize| container["ports"][index]["containerPort"].as_integer().unwrap();
    assert_eq!(port(0), i64::from(config.listen.address.port()));
    assert_eq!(port(1), i64::from(config.listen.operations_address.unwrap().port()));
    for (probe, path) in [("startupProbe", "/readyz"), ("readinessProbe", "/readyz"), ("livenessProbe", "/healthz")] {
        assert_eq!(container[probe]["httpGet"]["path"].as_str(), Some(path));
    }
    // Kubernetes reads YAML 1.1, where this is octal.
    assert_eq!(text.matches("secretName:").count(), text.matches("defaultMode: 0440").count());
}

#[test]
fn replicas_share_a_store_and_drain_one_after_another() {
    let text = read("kubernetes/postgres.yaml");
    let documents = documents(&text);
    let deployment = documents.iter().find(|document| document["kind"].as_str() == Some("Deployment")).unwrap();
    assert!(deployment["spec"]["replicas"].as_integer().unwrap() > 1);
    let pod = &deployment["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let number = |value: &Yaml<'_>| Duration::from_secs(value.as_integer().unwrap().try_into().unwrap());
    let pause = number(&container["lifecycle"]["preStop"]["sleep"]["seconds"]);
    assert!(number(&pod["terminationGracePeriodSeconds"]) > pause + Limits::default().drain_deadline);
    assert_eq!(deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"].as_integer(), Some(0));
    assert_eq!(text.matches("secretName:").count(), text.matches("defaultMode: 0440").count());
}

/// Each of the two is complete, and changes by rollout alone.
#[test]
fn manifests_are_complete_and_keep_metrics_from_strangers() {
    for file in ["kubernetes/token-server.yaml", "kubernetes/postgres.yaml"] {
        let text = read(file);
        let documents = documents(&text);
        let of_kind = |kind: &str| {
            let found = documents.iter().find(|document| document["kind"].as_str() == Some(kind));
            found.unwrap_or_else(|| panic!("{file} has no {kind}"))
        };
        for kind in ["ConfigMap", "ServiceAccount", "Service", "NetworkPolicy", "PodDisruptionBudget"] {
            of_kind(kind);
        }
        let config = of_kind("ConfigMap");
        assert_eq!(config["immutable"].as_bool(), Some(true), "{file}: what changes in place is never rolled out");
        let name = config["metadata"]["name"].as_str().unwrap();
        assert!(text.contains(&format!("configMap:\n            name: {name}\n")), "{file}");
        for service in documents.iter().filter(|document| document["kind"].as_str() == Some("Service")) {
            let ports = service["spec"]["ports"].as_vec().unwrap();
            let operations = ports.iter().any(|port| port["port"].as_integer() == Some(9090));
            let headless = service["spec"].contains_mapping_key("clusterIP");
            assert_eq!(operations, headless, "{file}: a balancer must not reach the metrics, and Prometheus must");
        }
        let rules = of_kind("NetworkPolicy")["spec"]["ingress"].as_vec().unwrap();
        for rule in rules {
            let open = !rule.contains_mapping_key("from");
            assert_eq!(rule["ports"][0]["port"].as_str(), Some(if open { "grpc" } else { "operations" }), "{file}");
        }
        assert_eq!(rules.len(), 2, "{file}");
    }
    for file in ["token-server.yaml", "postgres.yaml", "agent-sidecar.yaml", "gitops.yaml"] {
        let text = read(&format!("kubernetes/{file}"));
        for image in text.lines().filter_map(|line| line.trim().strip_prefix("image: ")) {
            assert!(image.contains('/') && !image.ends_with(":latest"), "{file}: {image} cannot be pulled");
        }
    }
    assert_eq!(documents(&read("kubernetes/monitoring/pod-monitor.yaml"))[0]["kind"].as_str(), Some("PodMonitor"));
}

/// PostgreSQL's URL comes from a Secret alone.
#[test]
fn url_of_the_replicas_database_is_in_a_secret() {
    let text = read("kubernetes/postgres.yaml");
    let documents = documents(&text);
    let of_kind = |kind: &str| documents.iter().find(|document| document["kind"].as_str() == Some(kind)).unwrap();
    let toml = of_kind("ConfigMap")["data"]["token-server.toml"].as_str().unwrap();
    assert!(toml.contains("[store]\nurl_file = \"/etc/token-server/store/url\"\n"), "{toml}");
    assert!(!toml.contains("postgres://") && !toml.contains("sqlite"), "{toml}");
    let volumes = of_kind("Deployment")["spec"]["template"]["spec"]["volumes"].as_vec().unwrap();
    let store = volumes.iter().find(|volume| volume["name"].as_str() == Some("store")).unwrap();
    assert_eq!(store["secret"]["items"][0]["path"].as_str(), Some("url"));
}

/// The chart's values for the end of a pod are the server's defaults, and its image is that of the manifests.
#[test]
fn values_of_the_chart_fit_the_program() {
    let values = read("helm/values.yaml");
    let values = documents(&values);
    let drain = values[0]["shutdown"]["drainSeconds"].as_integer().unwrap();
    assert_eq!(Duration::from_secs(drain.try_into().unwrap()), Limits::default().drain_deadline);
    let chart = read("helm/Chart.yaml");
    let version = documents(&chart)[0]["appVersion"].as_str().unwrap().to_owned();
    assert_eq!(version, env!("CARGO_PKG_VERSION"), "set appVersion and version in helm/Chart.yaml");
    let image = format!("image: {}:{version}\n", values[0]["image"]["repository"].as_str().unwrap());
    for file in ["kubernetes/token-server.yaml", "kubernetes/postgres.yaml", "kubernetes/gitops.yaml"] {
        assert!(read(file).contains(&image), "{file}: {image}");
    }
}

#[test]
fn job_of_gitops_runs_within_the_restricted_standard() {
    let text = read("kubernetes/gitops.yaml");
    let documents = documents(&text);
    let job = documents.iter().find(|document| document["kind"].as_str() == Some("Job")).unwrap();
    let pod = &job["spec"]["template"]["spec"];
    assert_eq!(pod["automountServiceAccountToken"].as_bool(), Some(false));
    assert_eq!(pod["securityContext"]["runAsNonRoot"].as_bool(), Some(true));
    let context = &pod["containers"][0]["securityContext"];
    assert_eq!(context["allowPrivilegeEscalation"].as_bool(), Some(false));
    assert_eq!(context["capabilities"]["drop"][0].as_str(), Some("ALL"));
    assert_eq!(text.matches("secretName:").count(), text.matches("defaultMode: 0440").count());
}

/// The handbook names only settings, metrics and files that exist, and its links have targets.
#[tokio::test]
async fn handbook_speaks_of_what_there_is() {
    let pages = handbook();
    let handbook: String = pages.iter().map(|(_, text)| text.as_str()).collect();
    let example = read("token-server.toml");
    for (section, settings) in [
        ("keys", ["sealing_key_file", "previous_sealing_key_files", "rotation_period", "visibility_period"].as_slice()),
        ("store", &["staleness_max", "start_wait", "cached_clients"]),
        ("listen", &["operations_address", "danger_plaintext"]),
        ("limits", &["drain_deadline"]),
        ("secrets", &["pepper_file", "previous_pepper_files"]),
    ] {
        let of_section = example.split(&format!("[{section}]\n")).nth(1).unwrap().split("\n[").next().unwrap();
        for setting in settings {
            assert!(handbook.contains(setting) && of_section.contains(setting), "[{section}] {setting}");
        }
    }
    let missing: Vec<_> = mentioned(&handbook).difference(&metrics().await).cloned().collect();
    assert!(missing.is_empty(), "{missing:?}");
    for (page, text) in pages {
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (file, section) = link.split_once('#').unwrap_or((link, ""));
            let path = if file.is_empty() { page.clone() } else { page.with_file_name(file) };
            assert!(path.exists(), "{}: {link}", page.display());
            let found = section.is_empty() || anchors(&fs::read_to_string(&path).unwrap()).contains(section);
            assert!(found, "{}: {link}", page.display());
        }
    }
}

/// Returns the anchors of a page's headings, in the form of links.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    let headings = headings.map(|heading| heading.trim_start_matches(['#', ' ']).to_lowercase());
    headings.map(|heading| heading.replace([',', '`'], "").replace(' ', "-")).collect()
}

#[test]
fn compose_file_builds_the_image() {
    let compose = read("compose.yaml");
    let compose = documents(&compose);
    assert!(compose[0]["services"]["token-server"]["build"]["dockerfile"].as_str().unwrap().ends_with("Dockerfile"));
}

#[test]
fn unit_file_checks_the_configuration_and_waits_for_the_drain() {
    let unit = read("token-server.service");
    let mut settings = Vec::new();
    for line in unit.lines().filter(|line| !line.is_empty() && !line.starts_with(['#', '['])) {
        settings.push(line.split_once('=').unwrap_or_else(|| panic!("{line:?} is no setting")));
    }
    let of = |name: &str| settings.iter().find(|(key, _)| *key == name).unwrap().1;
    assert!(of("ExecStartPre").ends_with("serve --config /etc/token-server/token-server.toml --check"));
    assert!(of("ExecStart").ends_with("serve --config /etc/token-server/token-server.toml"));
    let stop = of("TimeoutStopSec").trim_end_matches('s').parse().unwrap();
    assert!(Duration::from_secs(stop) > Limits::default().drain_deadline);
    assert_eq!(of("NoNewPrivileges"), "yes");
    assert_eq!(of("Type"), "notify");
}

#[test]
fn image_runs_without_privileges_and_serves() {
    let dockerfile = read("Dockerfile");
    assert!(dockerfile.contains("USER 65532:65532"));
    let command = dockerfile.lines().find_map(|line| line.strip_prefix("CMD ")).unwrap();
    let command: Vec<String> = serde_json::from_str(command).unwrap();
    assert_eq!(command[..2], ["serve", "--config"]);
    assert!(dockerfile.contains("--locked"));
}

/// Every Rust source below `folder`.
fn sources(folder: &Path, found: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

/// Every defence on the page has a test.
#[test]
fn every_line_of_the_threat_model_names_tests_that_there_are() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut code = String::new();
    for folder in [
        "token-server/issuer",
        "token-server/store",
        "token-server/src",
        "token-server/tests",
        "token-server/cli",
        "token-interceptor/src",
        "token-interceptor/tests",
        "tests/e2e",
    ] {
        sources(&root.join(folder), &mut code);
    }
    code.push_str(&fs::read_to_string(root.join("tests/contract.rs")).unwrap());
    let page = include_str!("../docs/threat-model.md");
    let (_, tables) = page.split_once("## What an attacker tries").unwrap();
    let rows = tables
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| attempt") && !line.starts_with("| table"));
    let mut walked = 0;
    for row in rows {
        let names = row.trim_end_matches(" |").rsplit_once(" | ").unwrap().1;
        let names: Vec<_> = names.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "no test: {row}");
        for name in names {
            assert!(code.contains(&format!("fn {name}(")), "there is no test {name}: {row}");
        }
        walked += 1;
    }
    assert!(walked > 40, "{walked}");
}
