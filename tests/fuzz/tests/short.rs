//! A short run of every fuzz target.

/// A test for each target, so that they run beside each other and each is named.
macro_rules! short {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            uplifted_fuzz::run::run(&uplifted_fuzz::target(stringify!($name)));
        })*

        #[test]
        fn no_target_is_left_out() {
            let run = [$(stringify!($name)),*];
            let all: Vec<&str> = uplifted_fuzz::targets().iter().map(|target| target.name).collect();
            assert_eq!(run[..], all[..]);
        }
    };
}

short! {
    fields identity header collect index index_stored tree root page_maps pieces frame pack recover_text object_key
    archive_index archive_tar archive_stored
    key_file identity_file age_header age_stream sealed_summary
    lease hold
    cron time_zone settings dotenv
    import sqlite_header
}
