//! A target that has lost its repository, or has another one: a disk that is not mounted, or the wrong one.

use super::*;
use crate::backup::targets::fs::FsTarget;
use crate::error::ErrorKind;

/// A service, and a folder that stands for a mount point.
struct Disks {
    scene: Scene,
}

impl Disks {
    fn new() -> Self {
        let scene = Scene::new(&[("config/app.yaml", b"a: 1\n"), ("data/notes", b"some")]);
        std::fs::create_dir(scene.base.path().join("mnt")).unwrap();
        Self { scene }
    }

    fn mount_point(&self) -> PathBuf {
        self.scene.base.path().join("mnt")
    }

    /// What is there goes under this name, and an empty folder is left.
    fn unmount(&self, name: &str) {
        std::fs::rename(self.mount_point(), self.scene.base.path().join(name)).unwrap();
        std::fs::create_dir(self.mount_point()).unwrap();
    }

    fn mount(&self, name: &str) {
        std::fs::remove_dir(self.mount_point()).unwrap();
        std::fs::rename(self.scene.base.path().join(name), self.mount_point()).unwrap();
    }

    fn is_untouched(&self) -> bool {
        std::fs::read_dir(self.mount_point()).unwrap().count() == 0
    }

    fn job(&self) -> CreateJob {
        let mut job = self.scene.repository_job();
        job.targets = vec![("disk".into(), Arc::new(FsTarget::new(self.mount_point())))];
        job
    }

    async fn run(&self, job: CreateJob) -> Result<CreateReport> {
        create(&later(1), job).await
    }

    fn state(&self) -> PathBuf {
        self.scene.root().join(".uplifted-ops")
    }
}

fn archive(job: CreateJob) -> CreateJob {
    let settings = BackupSettings { layout: Some("archive".into()), ..job.settings };
    CreateJob { settings, ..job }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_not_mounted_is_refused_and_nothing_is_written_there() {
    let disks = Disks::new();
    disks.run(disks.job()).await.unwrap();
    disks.run(disks.job()).await.unwrap();
    disks.unmount("disk");
    // The caches are no memory: they may go at any time.
    std::fs::remove_dir_all(disks.state().join("cache")).unwrap();
    for job in [disks.job(), archive(disks.job())] {
        let error = disks.run(job).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.message().contains("target \"disk\" has no repository in "), "{error}");
        assert!(error.message().contains("its disk is not mounted"), "{error}");
        let hint = error.hint().unwrap();
        assert!(hint.starts_with("mount the disk and run it again; "), "{hint}");
        assert!(hint.ends_with("`uplifted-ops backup create --target disk --layout repository --anew`"), "{hint}");
        assert!(disks.is_untouched());
    }
    // The folder itself may be gone, too.
    std::fs::remove_dir(disks.mount_point()).unwrap();
    assert_eq!(disks.run(disks.job()).await.unwrap_err().kind(), ErrorKind::Refused);
    assert!(!disks.mount_point().exists());
    std::fs::create_dir(disks.mount_point()).unwrap();

    // The other target gets its backup all the same.
    let mut both = disks.job();
    both.targets.push(("memory".into(), Arc::new(disks.scene.memory.clone())));
    let report = disks.run(both).await.unwrap();
    assert!(!report.is_healthy());
    let errors: Vec<bool> = report.targets.iter().map(|target| target.error.is_some()).collect();
    assert_eq!(errors, [true, false]);
    assert!(disks.is_untouched());

    disks.mount("disk");
    disks.run(disks.job()).await.unwrap();
    disks.run(archive(disks.job())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_so_begins_anew_once() {
    let disks = Disks::new();
    disks.run(disks.job()).await.unwrap();
    disks.unmount("deleted");
    disks.run(CreateJob { anew: true, ..disks.job() }).await.unwrap();
    disks.run(disks.job()).await.unwrap();
    // What came back is not what is used now.
    disks.unmount("new");
    disks.mount("deleted");
    let error = disks.run(disks.job()).await.unwrap_err();
    assert!(error.message().contains("has the repository "), "{error}");
    assert!(error.message().contains("another disk is there"), "{error}");
    disks.unmount("deleted");
    disks.mount("new");

    // An archive begins no repository, and the next run may.
    disks.unmount("new");
    disks.run(CreateJob { anew: true, ..archive(disks.job()) }).await.unwrap();
    disks.run(disks.job()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disks_that_take_turns_are_both_known() {
    let disks = Disks::new();
    disks.run(disks.job()).await.unwrap();
    disks.unmount("a");
    // The other one has a repository of its own, which another service began.
    let beside = Disks::new();
    let job = CreateJob { targets: disks.job().targets, ..beside.job() };
    create(&later(1), job).await.unwrap();
    let error = disks.run(disks.job()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.message().contains("another disk is there"), "{error}");
    disks.run(CreateJob { anew: true, ..disks.job() }).await.unwrap();
    for (taken, put) in [("b", "a"), ("a", "b"), ("b", "a")] {
        disks.unmount(taken);
        disks.mount(put);
        disks.run(disks.job()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_run_is_a_first_run() {
    // Of another place, of another name, of a host that knows nothing, and of one whose memory is damaged.
    let disks = Disks::new();
    disks.run(disks.job()).await.unwrap();
    let mut moved = disks.job();
    let elsewhere = disks.scene.base.path().join("elsewhere");
    moved.targets = vec![("disk".into(), Arc::new(FsTarget::new(elsewhere)))];
    disks.run(moved).await.unwrap();
    disks.unmount("a");
    let mut renamed = disks.job();
    renamed.targets[0].0 = "stick".into();
    disks.run(renamed).await.unwrap();
    disks.unmount("b");
    disks.run(disks.job()).await.unwrap_err();
    let folder = disks.state().join("targets");
    for file in std::fs::read_dir(&folder).unwrap() {
        std::fs::write(file.unwrap().path(), b"{\"repositories\": 5").unwrap();
    }
    disks.run(disks.job()).await.unwrap();
    disks.unmount("c");
    disks.run(disks.job()).await.unwrap_err();
    std::fs::remove_dir_all(&folder).unwrap();
    disks.run(disks.job()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn archives_alone_are_no_repository_to_miss() {
    let disks = Disks::new();
    disks.run(archive(disks.job())).await.unwrap();
    disks.unmount("a");
    disks.run(archive(disks.job())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_stored_nothing_remembers_nothing() {
    let disks = Disks::new();
    let memory = disks.scene.memory.clone();
    let with = |target: Arc<dyn BackupTarget>| CreateJob { targets: vec![("memory".into(), target)], ..disks.job() };
    let failing = FaultyTarget::nth(Arc::new(memory.clone()), Call::Upload, 1);
    disks.run(with(Arc::new(failing))).await.unwrap_err();
    assert!(!memory.keys().is_empty(), "it began a repository");
    memory.clear();
    disks.run(with(Arc::new(memory.clone()))).await.unwrap();
    memory.clear();
    let error = disks.run(with(Arc::new(memory))).await.unwrap_err();
    assert!(error.message().contains("somebody emptied it"), "{error}");
}
