use super::*;

#[test]
fn the_text_carries_the_record() {
    let record = b"uplifted-ops repository 1\nrepository 00\nmac ff\n";
    let text = text(record);
    assert_eq!(record_in(text.as_bytes()), Some(&record[..]));
    assert_eq!(record_in(b"nothing"), None);
    assert_eq!(record_in(b"\nuplifted-ops repository 1\n"), None);
}
