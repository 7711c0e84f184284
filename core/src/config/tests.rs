//! The layers together: sources, errors, warnings, redaction. The rules of `.env` and of the environment
//! are cases in `tests/conformance/config/`, which other languages run as well.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::*;
use crate::error::ErrorKind;

fn cases<T: for<'de> Deserialize<'de>>(file: &str) -> Vec<T> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/conformance/config").join(file);
    serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap()
}

#[derive(Deserialize)]
struct DotenvCase {
    name: String,
    given: DotenvGiven,
    expect: DotenvExpect,
}

#[derive(Deserialize)]
struct DotenvGiven {
    text: String,
    #[serde(default)]
    environment: Map<String, Value>,
}

#[derive(Deserialize)]
struct DotenvExpect {
    values: Map<String, Value>,
    malformed_lines: Vec<usize>,
}

#[test]
fn dotenv_cases() {
    let cases: Vec<DotenvCase> = cases("dotenv.json");
    assert!(cases.len() > 60);
    for DotenvCase { name, given, expect } in cases {
        let parsed = dotenv::parse(&given.text, |name| Some(given.environment.get(name)?.as_str()?.to_owned()));
        let values: Map<String, Value> =
            parsed.entries.iter().map(|entry| (entry.key.clone(), json!(entry.value))).collect();
        assert_eq!(values, expect.values, "{name}");
        assert_eq!(parsed.malformed_lines, expect.malformed_lines, "{name}");
    }
}

#[derive(Deserialize)]
struct LayerCase {
    name: String,
    given: LayerGiven,
    expect: LayerExpect,
}

#[derive(Deserialize)]
struct LayerGiven {
    environment: Vec<(String, String)>,
    dotenv: Option<String>,
    file: Option<String>,
}

#[derive(Deserialize)]
struct LayerExpect {
    #[serde(default)]
    settings: Map<String, Value>,
    #[serde(default)]
    sources: Map<String, Value>,
    #[serde(default)]
    warnings: Vec<String>,
    error: Option<Vec<String>>,
}

#[test]
fn environment_cases() {
    let cases: Vec<LayerCase> = cases("environment.json");
    assert!(cases.len() > 140);
    for LayerCase { name, given, expect } in cases {
        let folder = tempfile::tempdir().unwrap();
        for (file, text) in [(".env", &given.dotenv), ("ops.toml", &given.file)] {
            if let Some(text) = text {
                std::fs::write(folder.path().join(file), text).unwrap();
            }
        }
        let loaded = load(&LoadInput { environment: given.environment, ..LoadInput::new(folder.path()) });
        let config = match (loaded, expect.error) {
            (Ok(config), None) => config,
            (Err(error), Some(parts)) => {
                assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name}: {error}");
                assert!(error.hint().is_some(), "{name}: {error}");
                for part in parts {
                    assert!(error.message().contains(&part), "{name}: {part:?} is not in {error}");
                }
                continue;
            }
            (Ok(_), Some(_)) => panic!("{name}: no error"),
            (Err(error), None) => panic!("{name}: {error}"),
        };
        let settings = serde_json::to_value(&config.settings).unwrap();
        for (key, value) in expect.settings {
            let found = key.split('.').fold(&settings, |node, step| &node[step]);
            assert_eq!(*found, value, "{name}: {key}");
        }
        for (key, source) in expect.sources {
            assert_eq!(json!(config.source_of(&key)), source, "{name}: {key}");
        }
        let warnings: Vec<&str> = config.warnings.iter().map(|warning| warning.message.as_str()).collect();
        assert_eq!(warnings.len(), expect.warnings.len(), "{name}: {warnings:?}");
        for (warning, part) in config.warnings.iter().zip(expect.warnings) {
            assert!(warning.message.contains(&part), "{name}: {part:?} is not in {warning:?}");
        }
    }
}

/// A folder with these files, and the input that starts there.
fn scene(files: &[(&str, &str)]) -> (tempfile::TempDir, LoadInput) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let input = LoadInput::new(folder.path());
    (folder, input)
}

fn loaded(files: &[(&str, &str)]) -> (tempfile::TempDir, Config) {
    let (folder, input) = scene(files);
    let config = load(&input).unwrap();
    (folder, config)
}

#[test]
fn without_a_file_there_are_defaults() {
    let (folder, config) = loaded(&[]);
    let name = folder.path().file_name().unwrap().to_str().unwrap();
    assert_eq!(config.settings.service.name, name);
    assert_eq!(config.settings.service.root.as_deref(), Some(folder.path()));
    assert_eq!((config.root.as_path(), config.file.as_deref()), (folder.path(), None));
    assert_eq!(config.state, folder.path().join(".uplifted-ops"));
    assert_eq!(config.settings.backup, BackupSettings::default());
    assert_eq!(config.source_of("backup.level"), "default");
    assert_eq!(config.source_of("service.name"), "default (the folder's name)");
    assert_eq!(config.warnings, []);
}

#[test]
fn mistakes_in_the_file_name_their_line() {
    for (text, message, hint) in [
        ("[backup\n", "ops.toml:1: ", "correct the TOML"),
        ("a = 1\n[backup]\nlevel = \"hunter2\nx\"\n", "ops.toml:4: ", "correct the TOML"),
        ("[backup]\n\nlevle = 5\n", "ops.toml:3: unknown key `backup.levle`", "did you mean `backup.level`?"),
        ("[bakcup]\nlevel = 5\n", "ops.toml:1: unknown key `bakcup`", "did you mean `backup`?"),
        ("[[stores]]\nname = \"a\"\n", "ops.toml:1: unknown key `stores`", "did you mean `store`?"),
        ("backup.levle = 5\n", "ops.toml:1: unknown key `backup.levle`", "did you mean `backup.level`?"),
        ("backup = { levle = 5 }\n", "ops.toml:1: unknown key `backup.levle`", "did you mean `backup.level`?"),
        ("include = []\n", "ops.toml:1: unknown key `include`", "did you mean `backup.include`?"),
        ("[kubernetes]\n", "ops.toml:1: unknown key `kubernetes`", "remove it"),
        ("# c\n[backup]\nlevel = \"5\"\n", "ops.toml:3: `backup.level`: expected a whole number, found text", ""),
        ("[backup]\nlevel = 5.0\n", "ops.toml:2: `backup.level`: expected a whole number, found a number with", ""),
        ("[backup]\nlevel = 99999999999\n", "ops.toml:2: `backup.level`: expected a whole number from", ""),
        ("[backup]\nthreads = -1\n", "ops.toml:2: `backup.threads`: expected a whole number that is not", ""),
        ("[backup]\ninclude = \"data\"\n", "ops.toml:2: `backup.include`: expected a list of text, found text", ""),
        ("[backup]\ninclude = [\n 1 ]\n", "ops.toml:2: `backup.include[0]`: expected text, found a whole number", ""),
        ("[backup]\nscratch = 1979-05-27\nschedule = true\n", "ops.toml:3: `backup.schedule`: expected text", ""),
        ("[restore]\nmax_ratio = inf\n", "ops.toml:2: `restore.max_ratio` is inf", ""),
        ("[restore]\nmax_bytes = \"12 XB\"\n", "ops.toml:2: `restore.max_bytes`: expected a size", ""),
        ("backup = 5\n", "ops.toml:1: `backup` is a section, found a whole number", "write [backup]"),
        ("[[backup]]\nlevel = 5\n", "ops.toml:1: `backup` is a section, found a list", "write [backup]"),
        ("[store]\nname = \"a\"\n", "ops.toml:1: `store`: expected a list of tables, found a table", ""),
        ("[[store]]\nname = \"a\"\n\n[[store]]\nkind = \"b\"\n", "ops.toml:1: `store[0]`: it has no `kind`", ""),
        (
            "[[store]]\nname = \"a\"\nkind = \"k\"\n\n[[store]]\nkind = \"b\"\n",
            "ops.toml:5: `store[1]`: it has no `name`",
            "",
        ),
        ("[[store]]\nname = \"\"\nkind = \"k\"\n", "ops.toml:2: `store[0].name`: it must not be empty", ""),
        (
            "[[check]]\nname = \"a\"\nkind = \"k\"\ncritical = \"yes\"\n",
            "ops.toml:4: `check[0].critical`: expected true",
            "",
        ),
        ("store = [{ name = \"a\",\n kind = 5 }]\n", "ops.toml:2: `store[0].kind`: expected text", ""),
        ("[service]\nenv_prefix = \"A B\"\n", "service.env_prefix is no beginning", "use letters"),
    ] {
        let (_folder, input) = scene(&[("ops.toml", text)]);
        let error = load(&input).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text}");
        assert!(error.message().starts_with(message), "{text}: {error}");
        assert!(error.hint().unwrap().starts_with(hint), "{text}: {:?}", error.hint());
        assert!(!error.message().contains("hunter2"), "{error}");
    }
    let (_folder, input) = scene(&[("ops.toml", "a=1\nb=1\nc=1\nd=1\ne=1\nf=1\ng=1\n")]);
    let message = load(&input).unwrap_err().message().to_owned();
    assert!(message.contains("ops.toml:5: unknown key `e`; and 2 more"), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
}

#[test]
fn a_kinds_own_keys_are_left_to_it() {
    let (_folder, config) = loaded(&[(
        "ops.toml",
        "[[store]]\nname = \"main\"\nkind = \"sqlite\"\npath = \"x.db\"\nodd = { a = [1, 2.5, 1979-05-27] }\n\n\
         [[check]]\nname = \"my.api\"\nkind = \"http\"\nurl = \"http://h/\"\n",
    )]);
    let store = &config.settings.stores[0];
    assert_eq!(store.settings["odd"], json!({ "a": [1, 2.5, "1979-05-27"] }));
    assert_eq!(config.source_of("store.main.path"), "ops.toml:4");
    assert_eq!(config.source_of("store.0.odd"), "ops.toml:5");
    assert_eq!(config.source_of("check.my.api.url"), "ops.toml:10");
    let shown = config.show();
    let row = |key: &str| shown.iter().find(|row| row.key == key).unwrap_or_else(|| panic!("{key}"));
    assert_eq!(row("check.my.api.critical").source, "default");
    assert_eq!((row("store.main.path").value.clone(), row("target").value.clone()), (json!("x.db"), json!([])));
    assert_eq!(row("backup.level").source, "default");
}

#[test]
fn two_components_of_one_name_are_refused() {
    let text = "[[target]]\nname = \"a\"\nkind = \"fs\"\n\n[[target]]\nname = \"a\"\nkind = \"fs\"\n";
    let (_folder, input) = scene(&[("ops.toml", text)]);
    let error = load(&input).unwrap_err();
    assert_eq!(error.message(), "ops.toml:6: the name \"a\" of a [[target]] is taken already (ops.toml:2)");
    // Of two lists each has its own names.
    loaded(&[("ops.toml", "[[target]]\nname = \"a\"\nkind = \"fs\"\n[[store]]\nname = \"a\"\nkind = \"fs\"\n")]);
}

#[test]
fn the_root_is_found() {
    let (folder, mut input) = scene(&[
        ("ops.toml", "[backup]\nlevel = 1\n"),
        ("svc/ops.toml", "[backup]\nlevel = 2\n"),
        ("svc/a/b/x", ""),
        ("etc/other.toml", "[service]\nroot = \"../svc\"\n[backup]\nlevel = 3\n"),
        ("svc/.env", "UPLIFTED__BACKUP__THREADS=7\n"),
        ("data.db", ""),
    ]);
    let root = folder.path().canonicalize().unwrap();
    let level = |input: &LoadInput| {
        let config = load(input).unwrap();
        (config.settings.backup.level, config.root.canonicalize().unwrap())
    };
    input.working_dir = root.join("svc/a/b");
    assert_eq!(level(&input), (Some(2), root.join("svc")));
    input.root = Some("../..".into());
    assert_eq!(level(&input), (Some(2), root.join("svc")));
    input.root = Some(root.clone());
    assert_eq!(level(&input), (Some(1), root.clone()));
    input.root = None;
    input.environment.push(("UPLIFTED_OPS_ROOT".into(), root.display().to_string()));
    assert_eq!(level(&input), (Some(1), root.clone()));
    // The named file goes before the variable, and its own root is where .env is read.
    input.working_dir = root.clone();
    input.config_file = Some("etc/other.toml".into());
    assert_eq!(level(&input), (Some(3), root.join("svc")));
    assert_eq!(load(&input).unwrap().settings.backup.threads, 7);
    // A root that was named is not moved; the file says otherwise, so that is told.
    input.root = Some(root.clone());
    let config = load(&input).unwrap();
    assert_eq!((config.root.as_path(), config.settings.backup.level), (root.as_path(), Some(3)));
    assert_eq!(config.warnings[0].key, "service.root");

    for (root, file, kind) in [
        (Some("nowhere"), None, ErrorKind::NotFound),
        (Some("data.db"), None, ErrorKind::InvalidInput),
        (None, Some("nowhere.toml"), ErrorKind::NotFound),
        (None, Some("data.db"), ErrorKind::InvalidInput),
        (None, Some("svc"), ErrorKind::InvalidInput),
    ] {
        input.environment.clear();
        input.root = root.map(Into::into);
        input.config_file = file.map(Into::into);
        let error = load(&input).unwrap_err();
        assert_eq!(error.kind(), kind, "{root:?} {file:?}: {error}");
    }
}

#[test]
fn code_goes_before_everything_and_is_typed() {
    let (_folder, mut input) = scene(&[("ops.toml", "[backup]\nlevel = 1\nscratch = \"s\"\n")]);
    input.environment.push(("UPLIFTED__BACKUP__LEVEL".into(), "2".into()));
    input.overrides = json!({ "backup": { "level": 3, "scratch": null, "keep_free_bytes": "1KiB" },
        "store": [{ "name": "a", "kind": "b", "password": "hunter2" }] });
    let config = load(&input).unwrap();
    assert_eq!((config.settings.backup.level, config.settings.backup.scratch.clone()), (Some(3), None));
    assert_eq!(config.settings.backup.keep_free_bytes.0, 1024);
    assert_eq!(config.source_of("backup.level"), "code");
    assert_eq!(config.source_of("store.a.password"), "code");
    for (overrides, message) in [
        (json!([]), "are a list"),
        (json!({ "backup": 5 }), "`backup` given in code is a section"),
        (json!({ "backup": { "level": "5" } }), "`backup.level` given in code: expected a whole number"),
        (json!({ "backup": { "threads": null } }), "`backup.threads` given in code"),
        (json!({ "backup": { "levle": 5 } }), "unknown setting `backup.levle`"),
        (json!({ "store": [{ "name": "a" }] }), "`store[0]` given in code: it has no `kind`"),
    ] {
        input.overrides = overrides;
        let error = load(&input).unwrap_err();
        assert!(error.message().contains(message), "{error}");
    }
}

#[test]
fn a_strange_dotenv_is_a_warning() {
    let (folder, input) = scene(&[]);
    let path = folder.path().join(".env");
    std::fs::create_dir(&path).unwrap();
    let warned = || {
        let config = load(&input).unwrap();
        assert_eq!(config.warnings.len(), 1, "{:?}", config.warnings);
        config.warnings[0].message.clone()
    };
    assert!(warned().contains("not a regular file"));
    std::fs::remove_dir(&path).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600), 0)
        .unwrap();
    assert!(warned().contains("not a regular file"));
    std::fs::remove_file(&path).unwrap();
    // What is that large may be a database: it is not even opened.
    std::fs::write(&path, vec![b'#'; (1 << 20) + 1]).unwrap();
    let before = bytes_read();
    assert!(warned().contains("larger than 1 MiB"));
    assert!(bytes_read() - before < 1 << 19, "it was read");
    std::fs::write(&path, b"UPLIFTED__SERVICE__NAME=\xff\n").unwrap();
    assert!(warned().contains("not UTF-8"));
}

/// What this thread has read so far, in bytes.
fn bytes_read() -> u64 {
    let io = std::fs::read_to_string("/proc/thread-self/io").unwrap();
    io.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

#[test]
fn facts_about_the_host() {
    let (_folder, mut input) = scene(&[(
        ".env",
        "UPLIFTED__DATABASE__PATH=data/uplifted.db\nUPLIFTED__DATABASE__POOL_SIZE=20\n\
         UPLIFTED__LOGGING__FILE=logs/uplifted.log\nUPLIFTED__MONITORING__ENABLED=true\n\
         UPLIFTED__MONITORING__PROMETHEUS_PORT=9090\nREDIS_URL=redis://:hunter2@h/0\n\
         UPLIFTED__CACHE__ENABLED=on\nUPLIFTED__CACHE__TTL=3600\nUPLIFTED__CACHE__BACKEND=redis\n\
         UPLIFTED__SERVER='{\"workers\": 4, \"port\": 7541}'\nUPLIFTED__DEBUG=maybe-hunter2\n",
    )]);
    input.environment =
        vec![("UPLIFTED__DATABASE__POOL_SIZE".into(), "50".into()), ("uplifted__server__workers".into(), "8".into())];
    let config = load(&input).unwrap();
    let host = &config.host;
    assert_eq!(host.database_path.as_ref().unwrap().value, Path::new("data/uplifted.db"));
    assert_eq!(host.database_path.as_ref().unwrap().source, ".env:1 (UPLIFTED__DATABASE__PATH)");
    assert_eq!(host.database_pool_size.as_ref().unwrap().value, 50);
    assert_eq!((host.server_workers.as_ref().unwrap().value, host.server_port.as_ref().unwrap().value), (8, 7541));
    assert_eq!(host.cache_ttl_seconds.as_ref().unwrap().value, 3600);
    assert!(host.cache_enabled.as_ref().unwrap().value && host.cache_other.contains_key("backend"));
    assert_eq!(host.redis_url.as_ref().unwrap().value.reveal(), "redis://:hunter2@h/0");
    assert_eq!(host.debug, None);
    // The log is the service's, so it is a setting too; its value stays the host's.
    assert_eq!(config.settings.service.log.as_deref(), Some(Path::new("logs/uplifted.log")));
    assert_eq!(config.source_of("service.log"), ".env:3 (UPLIFTED__LOGGING__FILE)");
    let keys: Vec<&str> = config.warnings.iter().map(|warning| warning.key.as_str()).collect();
    assert_eq!(keys, ["debug", "monitoring.prometheus_port"]);
    assert!(config.warnings[1].message.contains("9090, Prometheus' own port"));
    let shown = format!("{:?} {:?}", config, config.show());
    for secret in ["hunter2", "data/uplifted.db", "logs/uplifted.log"] {
        assert!(!shown.contains(secret), "{secret} is in {shown}");
    }
}

/// One secret in every place where one can be, and nothing of it in what can be seen.
#[test]
fn a_secret_is_never_shown() {
    const SECRET: &str = "hunter2";
    let (_folder, mut input) = scene(&[
        (
            "ops.toml",
            "[service]\nstop = [\"curl\", \"--token\", \"hunter2\", \"http://u:hunter2@h/stop\"]\n\
             [[store]]\nname = \"main\"\nkind = \"postgres\"\nurl = \"postgres://u:hunter2@h/db\"\npassword = \"hunter2\"\n\
             [[target]]\nname = \"s3\"\nkind = \"s3\"\nsecret_key = \"hunter2\"\noptions = { token = [\"hunter2\"] }\n\
             [[check]]\nname = \"api\"\nkind = \"http\"\nurl = \"http://h/?token=hunter2\"\n\
             headers = { Authorization = \"Bearer hunter2\" }\n\
             [worker]\ncommand = [\"w\", \"--password=hunter2\"]\n",
        ),
        (
            ".env",
            "UPLIFTED__DATABASE__URL=postgres://u:hunter2@h/x\nUPLIFTED__ANYTHING=hunter2\nREDIS_URL=redis://:hunter2@h\n\
             hunter2 is no line\nUPLIFTED__MONITORING__PROMETHEUS_PORT=hunter2\nUPLIFTED__BACKUP__LEVLE=hunter2\n",
        ),
    ]);
    input.environment = vec![
        ("UPLIFTED__CACHE__PASSWORD".into(), SECRET.into()),
        ("UPLIFTED__WORKER".into(), "{\"cancel_grace\": \"hunter2\"}".into()),
        ("UPLIFTED__TARGETS".into(), "[\"hunter2\"]".into()),
    ];
    let config = load(&input).unwrap();
    assert_eq!(config.settings.stores[0].settings["password"], SECRET, "the kind itself gets it");
    let findings = check(&config, &BuildFacts::default());
    let secrets = findings.iter().filter(|finding| finding.message.contains("a secret stands in")).count();
    assert_eq!(secrets, 6, "{findings:#?}");
    let seen = [
        format!("{config:?} {:?} {:?}", config.settings, config.host),
        format!("{input:?}"),
        serde_json::to_string(&config.show()).unwrap(),
        serde_json::to_string(&findings).unwrap(),
        serde_json::to_string(&config.warnings).unwrap(),
    ];
    for text in &seen {
        assert!(!text.contains(SECRET), "{text}");
    }
    // The places around it can be seen.
    assert!(seen[2].contains("postgres://***@h/db") && seen[2].contains("Authorization"), "{}", seen[2]);

    for (name, value) in [
        ("UPLIFTED__BACKUP__LEVEL", "hunter2"),
        ("UPLIFTED__BACKUP", "hunter2"),
        ("UPLIFTED__BACKUP", "{\"hunter2"),
        ("UPLIFTED__BACKUP__INCLUDE", "[hunter2]"),
        ("UPLIFTED__STORE", "[{\"name\": \"a\", \"password\": \"hunter2\"}]"),
        ("UPLIFTED__STORE", "[\"hunter2\"]"),
    ] {
        input.environment = vec![(name.into(), value.into())];
        let error = load(&input).unwrap_err();
        let text = format!("{error} {error:?} {}", serde_json::to_string(&error.to_body()).unwrap());
        assert!(text.contains(name) && !text.contains(SECRET), "{text}");
    }
}

/// Whatever is missing or doubled in the file, the message about it does not quote what stands there.
#[test]
fn no_message_about_a_broken_file_quotes_a_secret() {
    let good = "[[store]]\nname = \"m\"\nkind = \"k\"\npassword = \"hunter2\"\nurl = 'p://u:hunter2@h'\n\
                options = { token = [\"hunter2\", 5], n = 1 }\n[backup]\nschedule = \"\"\"hunter2\"\"\"\n";
    let mut refused = 0;
    let mut judge = |text: String| {
        let Err(error) = file::parse(&text, "ops.toml") else { return };
        refused += 1;
        let said = format!("{error} {:?}", error.to_body());
        // A key is named when it is unknown; no single slip turns a value into a key here.
        assert!(!said.contains("hunter2"), "{text}\n{said}");
        assert!(error.message().starts_with("ops.toml:"), "{said}");
    };
    for at in 0..good.len() {
        judge(good[..at].to_owned());
        judge(format!("{}{}", &good[..at], &good[at + 1..]));
        for slip in ["\"", "'", "\n", "=", "[", "\\", "\u{0}", "{"] {
            judge(format!("{}{slip}{}", &good[..at], &good[at..]));
        }
    }
    assert!(refused > 500, "{refused}");
}
