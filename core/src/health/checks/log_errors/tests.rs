use std::io::Write;
use std::time::Duration;

use crate::clock::ManualClock;

use super::*;

const NOW: &str = "2025-10-28T10:30:00Z";

struct Scene {
    folder: tempfile::TempDir,
    clock: Arc<ManualClock>,
    check: LogErrorsCheck,
}

impl Scene {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut LogErrorsSettings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = LogErrorsSettings { timezone: "UTC".to_owned(), ..LogErrorsSettings::new("app.log") };
        change(&mut settings);
        let check = LogErrorsCheck::new(folder.path().join("app.log"), settings).unwrap();
        let clock = Arc::new(ManualClock::new(NOW.parse().unwrap()));
        let scene = Self { folder, clock, check };
        scene.append("");
        scene
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("app.log")
    }

    /// Adds to the log, which then has the test's time.
    fn append(&self, text: &str) {
        let mut file = std::fs::File::options().append(true).create(true).open(self.log()).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file.set_modified(std::time::SystemTime::from(self.now())).unwrap();
    }

    fn now(&self) -> Timestamp {
        use crate::clock::Clock;
        self.clock.now()
    }

    async fn outcome(&self) -> CheckOutcome {
        let scope = Scope { clock: self.clock.clone(), ..Scope::default() };
        self.check.check(&scope).await.unwrap()
    }

    async fn errors(&self) -> f64 {
        self.outcome().await.observed.unwrap()
    }
}

fn line(time: &str, level: &str) -> String {
    format!("2025-10-28 {time},123 - uplifted.api - {level} - something\n")
}

#[tokio::test]
async fn only_errors_by_level_and_within_the_window_count() {
    let scene = Scene::new();
    // Guide rows 3 and 24: twelve old errors still alarmed after 5,000 clean lines.
    scene.append(&line("09:29:59", "ERROR").repeat(12));
    scene.append(&line("10:29:00", "INFO").replace("something", "0 errors, user wrote ERROR").repeat(5000));
    let outcome = scene.outcome().await;
    assert_eq!((outcome.status, outcome.observed), (CheckStatus::Pass, Some(0.0)), "{outcome:?}");
    scene.append(&line("10:29:30", "ERROR").repeat(10));
    assert_eq!(scene.outcome().await.status, CheckStatus::Pass);
    scene.append(&line("10:29:40", "ERROR"));
    let outcome = scene.outcome().await;
    assert_eq!((outcome.status, outcome.observed), (CheckStatus::Warn, Some(11.0)), "{outcome:?}");
    assert!(outcome.message.contains("the newest at 2025-10-28T10:29:40Z"), "{}", outcome.message);
    assert!(!outcome.message.contains("something"));
    // They grow old without anybody writing.
    scene.clock.advance(Duration::from_secs(3575));
    assert_eq!(scene.errors().await, 1.0);
    scene.clock.advance(Duration::from_secs(100));
    assert_eq!(scene.errors().await, 0.0);
}

#[tokio::test]
async fn critical_ones_and_fail_counts_have_their_own_bounds() {
    let scene = Scene::with(|settings| settings.fail_count = Some(3));
    scene.append(&line("10:29:00", "CRITICAL"));
    let outcome = scene.outcome().await;
    assert_eq!(outcome.status, CheckStatus::Warn);
    assert!(outcome.message.contains("1 of them critical"), "{}", outcome.message);
    scene.append(&line("10:29:00", "ERROR").repeat(3));
    assert_eq!(scene.outcome().await.status, CheckStatus::Fail);
}

#[tokio::test]
async fn a_line_is_counted_once_and_only_when_it_is_whole() {
    let scene = Scene::new();
    let text = line("10:29:00", "ERROR");
    for (at, byte) in text.char_indices() {
        assert_eq!(scene.errors().await, 0.0, "{at}");
        scene.append(&byte.to_string());
    }
    for _ in 0..3 {
        assert_eq!(scene.errors().await, 1.0);
    }
}

#[tokio::test]
async fn tracebacks_and_injected_lines_belong_to_the_line_before() {
    let scene = Scene::new();
    scene.append(&line("10:29:00", "ERROR"));
    scene.append("Traceback (most recent call last):\nERROR: x\n[ERROR] y\nERROR:root:z\n");
    assert_eq!(scene.errors().await, 1.0);
    scene.append("ERROR: w\n");
    assert_eq!(scene.errors().await, 1.0);
}

#[tokio::test]
async fn lines_without_times_count_from_when_they_are_seen() {
    let scene = Scene::new();
    scene.append("ERROR: old\nINFO: x\n");
    let outcome = scene.outcome().await;
    assert_eq!(outcome.observed, Some(0.0));
    assert!(outcome.message.contains("1 more carry no time"), "{}", outcome.message);
    scene.append("ERROR: new\n");
    assert_eq!(scene.errors().await, 1.0);
    scene.clock.advance(Duration::from_secs(3601));
    assert_eq!(scene.errors().await, 0.0);
}

#[tokio::test]
async fn rotation_loses_nothing() {
    let scene = Scene::new();
    scene.append(&line("10:29:00", "ERROR"));
    assert_eq!(scene.errors().await, 1.0);
    // Written after the last look, before the rename, and then to the new file.
    scene.append(&line("10:29:10", "ERROR"));
    std::fs::rename(scene.log(), scene.folder.path().join("app.log.20251028")).unwrap();
    scene.append(&line("10:29:20", "ERROR"));
    assert_eq!(scene.errors().await, 3.0);
    assert_eq!(scene.errors().await, 3.0);
    // Whoever looks for the first time after the rotation sees the same.
    let settings = LogErrorsSettings { timezone: "UTC".to_owned(), ..LogErrorsSettings::new("app.log") };
    let other = LogErrorsCheck::new(scene.log(), settings).unwrap();
    let scope = Scope { clock: scene.clock.clone(), ..Scope::default() };
    assert_eq!(other.check(&scope).await.unwrap().observed, Some(3.0));
}

#[tokio::test]
async fn truncation_in_place_starts_anew() {
    let scene = Scene::new();
    scene.append(&line("10:29:00", "ERROR").repeat(5));
    assert_eq!(scene.errors().await, 5.0);
    // copytruncate: the same file, shorter; then, by the next look, longer than before.
    std::fs::File::options().write(true).open(scene.log()).unwrap().set_len(0).unwrap();
    assert_eq!(scene.errors().await, 5.0);
    scene.append(&line("10:29:10", "ERROR"));
    assert_eq!(scene.errors().await, 6.0);
    std::fs::File::options().write(true).open(scene.log()).unwrap().set_len(0).unwrap();
    scene.append(&line("10:29:20", "ERROR").repeat(10));
    assert_eq!(scene.errors().await, 16.0);
}

#[tokio::test]
async fn only_the_end_of_a_huge_log_is_read() {
    let scene = Scene::new();
    let text = line("10:29:00", "ERROR");
    let file = std::fs::File::options().write(true).open(scene.log()).unwrap();
    // A hole of 10 GiB reads as zeros, and must not be read at all.
    file.set_len(10 << 30).unwrap();
    scene.append("\n");
    scene.append(&text.repeat(3));
    let outcome = scene.outcome().await;
    assert_eq!(outcome.observed, Some(3.0));
    assert!(outcome.message.contains("at least 3 errors"), "{}", outcome.message);
    // The same at a later look, when more was added than is read at once.
    scene.append(&"x".repeat(5 << 20));
    scene.append("\n");
    scene.append(&text);
    assert_eq!(scene.errors().await, 4.0);
}

#[tokio::test]
async fn a_missing_log_warns_and_a_strange_one_is_an_error() {
    let scene = Scene::new();
    std::fs::remove_file(scene.log()).unwrap();
    // The guide's script read nothing under cron, and passed.
    let outcome = scene.outcome().await;
    assert_eq!(outcome.status, CheckStatus::Warn);
    assert!(outcome.message.contains("there is no log at /"), "{}", outcome.message);
    std::fs::create_dir(scene.log()).unwrap();
    let scope = Scope::default();
    assert_eq!(scene.check.check(&scope).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    std::fs::remove_dir(scene.log()).unwrap();
    // Nobody writes to the FIFO: a plain open would wait for ever.
    rustix::fs::mknodat(rustix::fs::CWD, scene.log(), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert_eq!(scene.check.check(&scope).await.unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn bytes_of_any_kind_are_survived() {
    let scene = Scene::new();
    let mut file = std::fs::File::options().append(true).open(scene.log()).unwrap();
    let mut junk: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    junk.extend([b'{'; 70_000]);
    junk.extend(b"\n\xff\xfe\n\r\n");
    file.write_all(&junk).unwrap();
    scene.append(&line("10:29:00", "ERROR").replace('\n', "\r\n"));
    assert_eq!(scene.errors().await, 1.0);
}

#[tokio::test]
async fn another_zone_is_noticed_and_can_be_set() {
    // A log in UTC-8 read as UTC: its errors seem eight hours old, and would be missed.
    let scene = Scene::new();
    scene.append("2025-10-28 02:30:00,000 - a - ERROR - b\n");
    let outcome = scene.outcome().await;
    assert_eq!((outcome.status, outcome.observed), (CheckStatus::Warn, Some(0.0)));
    assert!(outcome.message.contains("differ from the clock by 8 h"), "{}", outcome.message);
    let scene = Scene::with(|settings| settings.timezone = "Asia/Shanghai".to_owned());
    scene.append("2025-10-28 18:29:00,000 - a - ERROR - b\n");
    let outcome = scene.outcome().await;
    assert_eq!((outcome.status, outcome.observed), (CheckStatus::Pass, Some(1.0)), "{}", outcome.message);
}

#[tokio::test]
async fn the_hour_that_comes_twice_hides_no_errors() {
    // Berlin, 2025-10-26: 02:30 is 00:30Z and again 01:30Z.
    for (now, errors) in [("2025-10-26T00:40:00Z", 1.0), ("2025-10-26T01:40:00Z", 1.0), ("2025-10-26T02:40:00Z", 0.0)] {
        let scene = Scene::with(|settings| settings.timezone = "Europe/Berlin".to_owned());
        scene.clock.jump_to(now.parse().unwrap());
        scene.append("2025-10-26 02:30:00,000 - a - ERROR - b\n");
        assert_eq!(scene.errors().await, errors, "{now}");
    }
}

#[tokio::test]
async fn times_in_the_future_count_as_now_and_pass() {
    let scene = Scene::new();
    scene.append("2035-10-28 10:30:00,000 - a - ERROR - b\n");
    assert_eq!(scene.errors().await, 1.0);
    scene.clock.advance(Duration::from_secs(3601));
    assert_eq!(scene.errors().await, 0.0);
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let path = || PathBuf::from("/x.log");
    assert!(LogErrorsCheck::new(PathBuf::from("logs/x.log"), LogErrorsSettings::new("x")).is_err());
    for minutes in [0, 1441] {
        let settings = LogErrorsSettings { window_minutes: minutes, ..LogErrorsSettings::new("x") };
        assert!(LogErrorsCheck::new(path(), settings).is_err());
    }
    let zone = LogErrorsSettings { timezone: "Mars/Olympus".to_owned(), ..LogErrorsSettings::new("x") };
    assert!(LogErrorsCheck::new(path(), zone).is_err());
    let context = crate::component::BuildContext {
        name: "log".into(),
        root: "/srv".into(),
        state: "/srv/s".into(),
        service: "shop".into(),
    };
    let built = (KIND.build)(&context, serde_json::json!({"path": "logs/a.log"}).as_object().unwrap()).unwrap();
    assert!(format!("{built:?}").contains("/srv/logs/a.log"));
}
