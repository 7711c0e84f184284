use super::*;
use CheckStatus::{Fail, Pass, Warn};

fn shell(script: &str) -> CommandSettings {
    CommandSettings::new(["sh", "-c", script])
}

async fn told(settings: CommandSettings) -> CheckOutcome {
    CommandCheck::new(settings).unwrap().check(&Scope::default()).await.unwrap()
}

#[tokio::test]
async fn the_exit_status_is_the_verdict() {
    for (script, status, message) in [
        ("echo OK - all well", Pass, "OK - all well"),
        ("echo 'slow.'; exit 1", Warn, "slow"),
        ("echo down; exit 2", Fail, "down"),
        ("echo what; exit 3", Fail, "what (\"sh\" ended with exit status 3)"),
        ("echo 'no such table' >&2; exit 2", Fail, "no such table"),
        ("exit 1", Warn, "\"sh\" ended with exit status 1"),
        // Only the first line, without what is for machines.
        ("printf '\\nfirst | a=1\\nsecond\\n'", Pass, "first"),
        ("printf 'a\\033[31mred\\tb\\n'", Pass, "a [31mred b"),
    ] {
        let outcome = told(shell(script)).await;
        assert_eq!((outcome.status, outcome.message.as_str()), (status, message), "{script}");
    }
    let killed = told(shell("kill -9 $$")).await;
    assert_eq!(killed.status, Fail, "{killed:?}");
}

#[tokio::test]
async fn words_are_arguments_and_never_a_shell_line() {
    let outcome = told(CommandSettings::new(["echo", "$HOME; exit 2 `id`"])).await;
    assert_eq!((outcome.status, outcome.message.as_str()), (Pass, "$HOME; exit 2 `id`"));
}

#[tokio::test]
async fn secrets_do_not_come_out() {
    let env = BTreeMap::from([("PIN".to_owned(), Secret::new("hunter2"))]);
    for script in [
        "echo cannot log in as $PIN",
        "echo cannot log in as $PIN >&2; exit 2",
        "echo postgres://user:hunter2@db/x",
        "echo password=hunter2",
    ] {
        let settings = CommandSettings { env: env.clone(), ..shell(script) };
        let outcome = told(settings).await;
        assert!(!format!("{outcome:?}").contains("hunter2"), "{outcome:?}");
        assert!(outcome.message.contains(Secret::MASK), "{outcome:?}");
    }
    let settings = CommandSettings { env, ..shell("true") };
    let shown = format!("{:?} {}", CommandCheck::new(settings.clone()).unwrap(), serde_json::json!(settings));
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[tokio::test]
async fn output_is_bounded() {
    let long = told(shell("head -c 4000 /dev/zero | tr '\\0' x")).await;
    assert_eq!(long.message.chars().count(), TOLD + 1);
    let much = told(shell("yes | head -c 1000000")).await;
    assert!(much.message.chars().count() <= TOLD + 1);
}

#[tokio::test]
async fn a_program_that_hangs_is_killed_with_what_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let pidfile = folder.path().join("pid");
    let script = format!("sleep 1000 & echo $! > {}; wait", pidfile.display());
    // Long enough that the child has been started on a busy machine, as the loop below makes sure.
    let outcome = told(CommandSettings { timeout_seconds: 1.0, ..shell(&script) }).await;
    assert_eq!(outcome.status, Fail);
    assert!(outcome.message.contains("did not end within 1 s and was killed"), "{outcome:?}");
    let child = std::fs::read_to_string(&pidfile).expect("the script had a second to begin");
    let stat = format!("/proc/{}/stat", child.trim());
    // Killed, and perhaps not yet waited for by whoever inherits it.
    let gone =
        || std::fs::read_to_string(&stat).map_or(true, |stat| stat.rsplit(')').next().unwrap().starts_with(" Z"));
    while !gone() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_program_that_is_missing_is_an_error() {
    let missing = CommandCheck::new(CommandSettings::new(["/no/such/program"])).unwrap();
    let error = missing.check(&Scope::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    for wrong in [
        CommandSettings::new(Vec::<String>::new()),
        CommandSettings::new([""]),
        CommandSettings::new(["a\0b"]),
        CommandSettings { timeout_seconds: 0.0, ..CommandSettings::new(["a"]) },
        CommandSettings { env: BTreeMap::from([("A=B".to_owned(), Secret::new("x"))]), ..CommandSettings::new(["a"]) },
    ] {
        assert!(CommandCheck::new(wrong.clone()).is_err(), "{wrong:?}");
    }
}

#[test]
fn performance_data_gives_the_number() {
    for (data, wanted) in [
        (" time=0.5s;1;2 size=3B", Some((0.5, "seconds"))),
        ("rta=12ms", Some((0.012, "seconds"))),
        ("used=50%;80;90", Some((0.5, "ratio"))),
        ("size=2KB", Some((2048.0, "bytes"))),
        ("'queue depth'=12;50;100", Some((12.0, "queue depth"))),
        ("x=-3c", Some((-3.0, "x"))),
        ("x=U", None),
        ("=1", None),
        ("x", None),
        ("", None),
    ] {
        assert_eq!(number(data), wanted.map(|(value, unit)| (value, unit.to_owned())), "{data}");
    }
}
