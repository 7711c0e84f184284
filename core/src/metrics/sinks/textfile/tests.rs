use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;
use crate::metrics::{Definition, Registry};
use crate::testing::{assert_all, sink as suite};

fn settings(path: impl Into<PathBuf>) -> TextfileSettings {
    TextfileSettings { path: path.into(), mode: readable() }
}

/// A sink in a folder of its own; it fails while the folder has another name.
struct InFolder {
    folder: tempfile::TempDir,
    sink: Arc<TextfileSink>,
}

impl InFolder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("textfile")).unwrap();
        let sink = TextfileSink::new(settings(folder.path().join("textfile/shop.prom"))).unwrap();
        Self { folder, sink: Arc::new(sink) }
    }
}

/// The value of a series on a page, by the rules of the text format.
pub(super) fn on_page(page: &str, name: &str, labels: &[&str]) -> Option<f64> {
    page.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let (found, rest) = series.split_once('{').unwrap_or((series, ""));
        let is_it = [name.to_owned(), format!("{name}_total"), format!("{name}_count")].iter().any(|it| it == found);
        let mut values = Vec::new();
        let mut chars = rest.chars();
        while let Some(c) = chars.next() {
            if c != '"' {
                continue;
            }
            let mut value = String::new();
            while let Some(c) = chars.next().filter(|c| *c != '"') {
                match c {
                    '\\' => value.push(chars.next().map_or('\\', |c| if c == 'n' { '\n' } else { c })),
                    c => value.push(c),
                }
            }
            values.push(value);
        }
        (is_it && values == labels).then(|| value.parse().unwrap())
    })
}

#[async_trait]
impl suite::Fixture for InFolder {
    fn sink(&self) -> Arc<dyn MetricsSink> {
        self.sink.clone()
    }

    async fn received(&self, name: &str, labels: &[&str]) -> Option<f64> {
        on_page(&std::fs::read_to_string(&self.sink.path).ok()?, name, labels)
    }

    async fn exports(&self) -> Option<u64> {
        None
    }

    async fn set_failing(&self, failing: bool) -> bool {
        let (there, away) = (self.folder.path().join("textfile"), self.folder.path().join("away"));
        let (from, to) = if failing { (there, away) } else { (away, there) };
        std::fs::rename(from, to).is_ok()
    }
}

#[tokio::test]
async fn it_keeps_the_contract() {
    assert_all(&suite::run(|| Arc::new(InFolder::new()) as Arc<dyn suite::Fixture>).await);
}

#[tokio::test]
async fn the_file_is_replaced_as_a_whole_and_everybody_may_read_it() {
    let scene = InFolder::new();
    let registry = Registry::new();
    let visits = registry.counters(Definition::new("visits_total", "Visits")).unwrap().with(&[]).unwrap();
    for round in 1..=2 {
        visits.inc();
        scene.sink.export(&Scope::default(), &registry.snapshot()).await.unwrap();
        let page = std::fs::read_to_string(&scene.sink.path).unwrap();
        assert_eq!(page, format!("# HELP visits_total Visits\n# TYPE visits_total counter\nvisits_total {round}\n"));
        assert_eq!(scene.sink.path.metadata().unwrap().permissions().mode() & 0o7777, 0o644);
    }
    let names: Vec<_> = std::fs::read_dir(scene.sink.path.parent().unwrap()).unwrap().collect();
    assert_eq!(names.len(), 1, "{names:?}");
}

#[tokio::test]
async fn what_the_collector_would_pass_over_is_refused() {
    for path in ["/x/shop.txt", "/x/shop", "/x/.prom"] {
        let error = TextfileSink::new(settings(path)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{path}");
    }
    for mode in ["644x", "01777", "", "-1"] {
        let error = TextfileSink::new(TextfileSettings { mode: mode.to_owned(), ..settings("/x/a.prom") }).unwrap_err();
        assert!(error.hint().unwrap().contains("octal"), "{mode}: {error}");
    }
    let sink = TextfileSink::new(settings(Path::new("/nowhere/at/all/shop.prom"))).unwrap();
    let error = sink.export(&Scope::default(), &MetricsSnapshot::default()).await.unwrap_err();
    assert!(error.hint().unwrap().contains("make the folder"), "{error}");
}
