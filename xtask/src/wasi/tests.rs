//! Each way in which the table can be wrong.

use super::*;

const GOOD: &str = r#"
["a:b/c@0.1.0".functions]
f = { tests = ["works"] }
g = { deviation = "half of it", reason = "nobody can tell" }
"#;

fn complaints_of(table: &str) -> Vec<String> {
    let interfaces = Interfaces::from([("a:b/c@0.1.0".to_owned(), vec!["f".to_owned(), "g".to_owned()])]);
    let tests = BTreeSet::from(["works".to_owned()]);
    complaints(&interfaces, &Table::parse(table).unwrap(), &tests)
}

#[test]
fn a_table_that_says_everything_is_a_page() {
    assert_eq!(complaints_of(GOOD), Vec::<String>::new());
    let interfaces = Interfaces::from([("a:b/c@0.1.0".to_owned(), vec!["f".to_owned(), "g".to_owned()])]);
    let page = text::page(&interfaces, &Table::parse(GOOD).unwrap());
    assert!(page.contains("## `a:b/c@0.1.0`"), "{page}");
    assert!(page.contains("| `f` | complete |  | `works` |"), "{page}");
    assert!(page.contains("| `g` | deviates | half of it | none: nobody can tell |"), "{page}");
}

#[test]
fn whatever_is_missing_is_named() {
    let without = |line: &str| GOOD.lines().filter(|l| !l.starts_with(line)).collect::<Vec<_>>().join("\n");
    let cases = [
        (String::new(), "nothing is said of the interface a:b/c@0.1.0"),
        (without("f ="), "a:b/c@0.1.0 has no row for f"),
        (format!("{GOOD}h = {{ tests = [\"works\"] }}"), "has a row for h, which is no function of it"),
        (format!("{GOOD}[\"a:b/d@0.1.0\"]\nnote = \"x\""), "there is no interface a:b/d@0.1.0"),
        (GOOD.replace("works", "worked"), "names the test worked, which is not there"),
        (GOOD.replace("[\"works\"]", "[]"), "the row of f has neither a test nor a reason"),
    ];
    for (table, expected) in cases {
        let found = complaints_of(&table);
        assert!(found.len() == 1 && found[0].contains(expected), "{expected}: {found:?}");
    }
    assert!(Table::parse(&GOOD.replace("tests", "test")).is_err());
}

#[test]
fn tests_are_found_where_they_are_written() {
    let text = "    fn one() {}\nasync fn two(x: u8) {}\n// fn three\nlet fn_four = 1;\npub fn five() {}";
    assert_eq!(functions_in(text).collect::<Vec<_>>(), ["one", "two"]);
}

#[test]
fn a_page_that_is_not_the_present_one_is_refused() {
    let root = tool::root();
    let folder = tempfile::tempdir().unwrap();
    for path in [WIT, "xtask/src/wasi", "docs", "enclave", "tests"] {
        std::fs::create_dir_all(folder.path().join(path).parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(root.join(path), folder.path().join(path)).unwrap();
    }
    check(folder.path()).unwrap();
    std::fs::remove_file(folder.path().join("docs")).unwrap();
    std::fs::create_dir(folder.path().join("docs")).unwrap();
    let page = std::fs::read_to_string(root.join(PAGE)).unwrap();
    let missing = page.lines().skip(40).collect::<Vec<_>>().join("\n");
    std::fs::write(folder.path().join(PAGE), missing).unwrap();
    assert!(check(folder.path()).unwrap_err().to_string().contains("wasi-docs --write"));
}
