//! What is said when an object is registered that is not what it should be.

use serde_json::{Value, json};
use uplifted_ops::ErrorKind;
use uplifted_ops::embed::{Contract, Method, PluginFacts, Spelling, methods};
use uplifted_ops_tests::plugins::{Memory, Object, all_methods, answering, stuck};

use super::builder;

fn refusal(contract: Contract, object: Object) -> (String, String) {
    let error = builder().1.plugin(contract, "offsite", object.shared()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    (error.message().to_owned(), error.hint().unwrap().to_owned())
}

#[test]
fn everything_that_is_missing_is_named_with_the_repair() {
    let (message, hint) = refusal(Contract::Target, stuck("Foo", "put upload stat delete"));
    assert_eq!(message, "target \"offsite\" (class Foo) has no methods get, list");
    assert_eq!(hint, "add to class Foo: get(key, start, end), list(prefix, after)");
    let (message, hint) = refusal(Contract::Store, stuck("Foo", "stats verify restore_from").camel());
    assert_eq!(message, "store \"offsite\" (class Foo) has no methods snapshotTo, checkCopy");
    assert_eq!(hint, "add to class Foo: snapshotTo(dir), checkCopy(dir, depth)");
    let (message, _) = refusal(Contract::Sink, stuck("Foo", "check"));
    assert_eq!(message, "sink \"offsite\" (class Foo) has no method export");
    let (message, _) = refusal(Contract::Upload, stuck("Foo", &all_methods()));
    assert_eq!(message, "upload \"offsite\" cannot be registered");
}

#[test]
fn a_wrong_capability_is_named_with_the_repair() {
    let store =
        |capability: Value| stuck("Foo", "stats verify snapshot_to check_copy restore_from").capability(capability);
    let wrong = |capability| refusal(Contract::Store, store(capability)).0;
    let begin = "the capability of store \"offsite\" (class Foo) is wrong: ";
    for (capability, why) in [
        (json!({"kind": "x"}), "it does not say which file is the live database"),
        (json!({"file": null}), "missing field `kind`"),
        (json!({"kind": "x", "file": "data/app.db"}), "\"data/app.db\" is not absolute"),
        (json!("x"), "\"x\""),
        (
            json!({"kind": "x", "file": null, "maintenance": ["polish"]}),
            "maintenance[0]: unknown variant `polish`, expected `optimize` or `release_free_pages`",
        ),
    ] {
        assert_eq!(wrong(capability), format!("{begin}{why}"));
    }
    let (message, hint) = refusal(Contract::Store, stuck("Foo", "stats verify snapshot_to check_copy restore_from"));
    assert_eq!(message, format!("{begin}it has none"));
    assert!(hint.starts_with("give Foo a capability {kind, file, side_files, maintenance}: "), "{hint}");
    let (message, _) = refusal(Contract::Store, store(json!({"kind": "x", "file": null, "maintenance": ["optimize"]})));
    assert_eq!(message, "store \"offsite\" (class Foo) has no method maintain");
    let target = stuck("Foo", Memory::METHODS).capability(json!({"folder": "backups"}));
    assert_eq!(
        refusal(Contract::Target, target).0,
        "the capability of target \"offsite\" (class Foo) is wrong: \"backups\" is not absolute"
    );
}

#[test]
fn what_may_be_left_out_has_a_default() {
    let target = uplifted_ops::embed::target("offsite", stuck("Foo", Memory::METHODS).shared(), super::HANG).unwrap();
    assert_eq!(
        json!(target.capability()),
        json!({"kind": "Foo", "location": "offsite", "folder": null, "put_if_absent": false, "read_before_finish": false})
    );
    let camel = stuck("Foo", Memory::METHODS).camel().capability(json!({"putIfAbsent": true, "location": "x"}));
    let target = uplifted_ops::embed::target("offsite", camel.shared(), super::HANG).unwrap();
    assert!(target.capability().put_if_absent);
}

#[test]
fn two_of_one_name_are_refused() {
    let check = || answering(json!(null)).shared();
    let (_folder, builder) = builder();
    let builder = builder.plugin(Contract::Check, "a", check()).unwrap().plugin(Contract::Check, "a", check()).unwrap();
    assert_eq!(builder.build().unwrap_err().message(), "two of [[check]] are called \"a\"");
}

/// The table that bindings read agrees with the contracts, whose calls name their arguments themselves.
#[test]
fn names_are_translated_both_ways() {
    for Method { name, parameters, .. } in methods() {
        for name in [name].into_iter().chain(*parameters) {
            assert_eq!(Spelling::Camel.read(&Spelling::Camel.write(name)), *name);
        }
    }
    assert_eq!(Spelling::Camel.write("snapshot_to"), "snapshotTo");
    assert_eq!(Spelling::Camel.read("sizeBytes"), "size_bytes");
    let facts = PluginFacts::collect("Foo", Spelling::Camel, |name| name == "checkCopy" || name == "unheardOf");
    assert_eq!(facts.methods, ["check_copy"]);
}
