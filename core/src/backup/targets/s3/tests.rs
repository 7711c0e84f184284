//! Settings and keys; what needs a server is in `tests/s3`.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;

use super::*;

const SECRET: &str = "hunter2hunter2";

fn context(root: &Path) -> BuildContext {
    BuildContext { name: "offsite".into(), root: root.into(), state: root.join(".state"), service: "shop".into() }
}

fn environment(variables: &[(&str, &str)]) -> Environment {
    let variables: BTreeMap<String, String> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Arc::new(move |name: &str| variables.get(name).cloned())
}

fn wallet(root: &Path, settings: Value, variables: &[(&str, &str)]) -> Wallet {
    let mut all = json!({ "url": "s3://bucket" });
    all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    let config = Config::read(&context(root), all.as_object().unwrap()).unwrap();
    Wallet::new(config, environment(variables))
}

fn keys(wallet: &Wallet) -> Result<Option<(String, String, Option<String>)>> {
    Ok(wallet.keys()?.map(|keys| {
        let shown = |secret: &crate::value::Secret| secret.reveal().to_owned();
        (shown(&keys.id), shown(&keys.secret), keys.token.as_ref().map(shown))
    }))
}

#[test]
fn settings_are_checked_and_no_error_repeats_a_secret() {
    let build = |settings: Value| build(&context(Path::new("/srv/app")), settings.as_object().unwrap());
    for (settings, location) in [
        (json!({ "url": "s3://bucket" }), "s3://bucket"),
        (json!({ "url": "s3://bucket/a/b/" }), "s3://bucket/a/b"),
        (json!({ "url": "s3://bucket/a", "endpoint": "https://minio:9000/" }), "https://minio:9000/bucket/a"),
        (json!({ "url": "s3://bucket", "endpoint": "http://[::1]:9", "allow_http": true }), "http://[::1]:9/bucket"),
    ] {
        let target = build(settings).unwrap();
        let capability = target.capability();
        assert_eq!(capability.location, location);
        assert!(!capability.put_if_absent && !capability.read_before_finish && capability.folder.is_none());
    }
    for (settings, word) in [
        (json!({}), "url"),
        (json!({ "url": "https://bucket" }), "s3://"),
        (json!({ "url": "s3://x" }), "bucket"),
        (json!({ "url": "s3://bucket/a//b" }), "prefix"),
        (json!({ "url": "s3://bucket/../b" }), "prefix"),
        (json!({ "url": format!("s3://me:{SECRET}@bucket") }), "more in it"),
        (json!({ "url": "s3://bucket", "endpoint": "minio:9000" }), "https://"),
        (json!({ "url": "s3://bucket", "endpoint": format!("https://me:{SECRET}@h") }), "host and a port"),
        (json!({ "url": "s3://bucket", "endpoint": "https://h/path" }), "host and a port"),
        (json!({ "url": "s3://bucket", "endpoint": "http://h" }), "plain http"),
        (json!({ "url": "s3://bucket", "secret_access_key": SECRET }), "belong together"),
        (json!({ "url": "s3://bucket", "access_key_id": SECRET, "session_token": SECRET }), "belong together"),
        (json!({ "url": "s3://bucket", "part_size": "1MiB" }), "part_size"),
        (json!({ "url": "s3://bucket", "part_size": "1GiB" }), "part_size"),
        (json!({ "url": "s3://bucket", "timeout_seconds": 0 }), "timeout_seconds"),
        (json!({ "url": "s3://bucket", "retry_seconds": -1 }), "retry_seconds"),
        (json!({ "url": "s3://bucket", "pathstyle": true }), "pathstyle"),
    ] {
        let error = build(settings.clone()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{settings}");
        assert!(error.message().contains(word) && error.message().contains("offsite"), "{error}");
        assert!(error.hint().is_some());
        assert!(!format!("{error} {error:?}").contains(SECRET), "{error:?}");
    }
}

#[test]
fn nothing_that_is_printed_has_a_key_in_it() {
    let settings = json!({ "url": "s3://bucket", "access_key_id": "id-hunter2", "secret_access_key": SECRET });
    let target = S3Target::new(&context(Path::new("/srv/app")), settings.as_object().unwrap()).unwrap();
    let store = target.store().unwrap();
    let shown = format!("{target:?} {:?} {:?}", target.capability(), target.0.wallet);
    assert!(!shown.contains("hunter2"), "{shown}");
    drop(store);
    target.0.wallet.keys().unwrap();
    assert_eq!(target.0.wallet.scrub(&format!("bad {SECRET} of id-hunter2")), "bad *** of ***");
}

#[test]
fn keys_are_looked_for_in_amazons_order_and_anew_each_time() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path();
    let aws = root.join(".aws");
    std::fs::create_dir(&aws).unwrap();
    std::fs::write(
        aws.join("credentials"),
        "# c\n[default]\naws_access_key_id = d-id\naws_secret_access_key=d-secret\n\n[ work ]\naws_access_key_id=w-id # x\n\
         aws_secret_access_key = w-secret\naws_session_token = w-token\n",
    )
    .unwrap();
    std::fs::write(
        aws.join("config"),
        "[default]\nregion = eu-north-1\n[profile work]\nregion=eu-west-3\ns3 =\n    aws_access_key_id = nested\n\
         [profile both]\naws_access_key_id = b-id\naws_secret_access_key = b-secret\n\
         [profile sso]\nsso_session = s\n[profile empty]\nregion = x\n",
    )
    .unwrap();
    let home = root.to_str().unwrap().to_owned();
    let look = |settings: Value, more: &[(&str, &str)]| {
        let mut variables = vec![("HOME", home.as_str())];
        variables.extend(more);
        wallet(root, settings, &variables)
    };
    let found = |id: &str, secret: &str, token: Option<&str>| {
        Some((id.to_owned(), secret.to_owned(), token.map(str::to_owned)))
    };
    let variables = [("AWS_ACCESS_KEY_ID", "e-id"), ("AWS_SECRET_ACCESS_KEY", "e-secret"), ("AWS_PROFILE", "work")];
    let own = json!({ "access_key_id": "env:ID", "secret_access_key": "s-secret" });
    let with_id = [("ID", "s-id"), variables[0], variables[1]];
    assert_eq!(keys(&look(own.clone(), &with_id)).unwrap(), found("s-id", "s-secret", None));
    assert_eq!(
        keys(&look(json!({ "profile": "work" }), &variables)).unwrap(),
        found("w-id", "w-secret", Some("w-token"))
    );
    assert_eq!(keys(&look(json!({}), &variables)).unwrap(), found("e-id", "e-secret", None));
    let identity = [("AWS_WEB_IDENTITY_TOKEN_FILE", "/t"), ("AWS_ROLE_ARN", "r")];
    assert_eq!(keys(&look(json!({}), &identity)).unwrap(), None);
    assert_eq!(keys(&look(json!({}), &variables[2..])).unwrap(), found("w-id", "w-secret", Some("w-token")));
    assert_eq!(keys(&look(json!({ "profile": "both" }), &[])).unwrap(), found("b-id", "b-secret", None));
    assert_eq!(keys(&look(json!({}), &[])).unwrap(), found("d-id", "d-secret", None));

    // A role of a machine is somebody else's business, a profile that was named is not.
    assert_eq!(keys(&wallet(root, json!({}), &[("HOME", "/nonexistent")])).unwrap(), None);
    for (profile, kind, word) in [
        ("sso", ErrorKind::Unsupported, "sso_session"),
        ("empty", ErrorKind::NotFound, "has no keys"),
        ("nobody", ErrorKind::NotFound, "does not exist"),
    ] {
        let error = keys(&look(json!({ "profile": profile }), &[])).unwrap_err();
        assert_eq!(error.kind(), kind, "{profile}");
        assert!(error.message().contains(word) && error.hint().is_some(), "{error}");
    }
    let error = keys(&look(own, &[])).unwrap_err();
    assert!(error.message().contains("ID") && error.message().contains("offsite"), "{error}");

    // The service's own `.env` counts, and keys that are renewed are used.
    let wallet = look(json!({}), &[]);
    std::fs::write(root.join(".env"), "AWS_ACCESS_KEY_ID=one\nAWS_SECRET_ACCESS_KEY=two\n").unwrap();
    assert_eq!(keys(&wallet).unwrap(), found("one", "two", None));
    std::fs::write(root.join(".env"), "AWS_ACCESS_KEY_ID=three\nAWS_SECRET_ACCESS_KEY=four\n").unwrap();
    assert_eq!(keys(&wallet).unwrap(), found("three", "four", None));

    for (settings, variables, region) in [
        (json!({}), &[("AWS_REGION", "r1"), ("AWS_DEFAULT_REGION", "r2")][..], Some("r1")),
        (json!({}), &[("AWS_DEFAULT_REGION", "r2")], Some("r2")),
        (json!({ "profile": "work" }), &[], Some("eu-west-3")),
        (json!({}), &[("AWS_PROFILE", "work")], Some("eu-west-3")),
        (json!({}), &[], Some("eu-north-1")),
        (json!({ "profile": "sso" }), &[], None),
    ] {
        assert_eq!(look(settings, variables).region().unwrap().as_deref(), region);
    }
}
