use super::*;

fn member(origin: Origin, name: &str, count: Count) -> (Member, Count) {
    let member =
        Member { origin, name: name.to_owned(), version: "1.2.3".to_owned(), folder: PathBuf::new() };
    (member, count)
}

fn example() -> Vec<(Member, Count)> {
    vec![
        member(Origin::Ours, "ours", Count { lines: 10, unsafes: 0 }),
        member(Origin::CratesIo, "bytes", Count { lines: 200, unsafes: 30 }),
        member(Origin::Std, "core", Count { lines: 3000, unsafes: 400 }),
    ]
}

#[test]
fn the_list_that_was_written_fits() {
    let text = list::text(&example());
    assert!(text.contains("\nours 1.2.3 - 0\n") && text.contains("\nbytes 1.2.3 200 30\n"), "{text}");
    assert_eq!(list::differences(&text, &text), [""; 0]);
}

#[test]
fn another_crate_version_or_unsafe_is_told() {
    let committed = list::text(&example());
    let mut members = example();
    members[0].1.lines = 11;
    assert_eq!(list::differences(&committed, &list::text(&members)), [""; 0], "our lines may change");
    members[0].1.unsafes = 1;
    members[1].0.version = "1.2.4".to_owned();
    members.pop();
    assert_eq!(
        list::differences(&committed, &list::text(&members)),
        [
            "- bytes 1.2.3 200 30",
            "- core 1.2.3 3000 400",
            "- ours 1.2.3 - 0",
            "+ bytes 1.2.4 200 30",
            "+ ours 1.2.3 - 1"
        ]
    );
}

#[test]
fn the_table_has_sums() {
    let table = table(&example());
    assert!(table.lines().last().unwrap().contains("3210 lines    430 unsafe"), "{table}");
}

#[test]
fn packages_as_cargo_prints_them() {
    let package = Package::parse("wasmtime v48.0.8").unwrap();
    assert_eq!((&*package.name, &*package.version, package.folder), ("wasmtime", "48.0.8", None));
    let package = Package::parse("std v0.0.0 (/a folder/std)").unwrap();
    assert_eq!(package.folder, Some(PathBuf::from("/a folder/std")));
    assert!(Package::parse("nonsense").is_none());
}
