use super::*;

const IMAGE: &str = include_str!("../../../enclave/image/image.toml");

#[test]
fn the_file_of_our_image_is_read() {
    let parameters = Parameters::from_toml(IMAGE).unwrap();
    assert!(!parameters.debug, "what is released is no debug image");
    assert_eq!(parameters.xfrm, 7);
    assert!(parameters.cpu_features().is_sorted());
    for name in ["avx2", "bmi2", "rdrand", "vaes"] {
        assert!(parameters.cpu_features().contains(&name), "{name}");
    }
}

#[test]
fn impossible_values_are_refused_by_name() {
    for (line, wrong, named) in [
        ("heap = 0x5000_0000", "heap = 0x4000_0001", "heap"),
        ("heap = 0x5000_0000", "heap = 4096", "heap"),
        ("heap = 0x5000_0000", "heap = 0x10_0000_1000", "heap"),
        ("stack = 0x10_0000", "stack = 4096", "stack"),
        ("threads = 33", "threads = 0", "threads"),
        ("threads = 33", "threads = 1025", "threads"),
        ("xfrm = 7", "xfrm = 3", "xfrm"),
        ("xfrm = 7", "xfrm = 0xe7", "xfrm"),
        ("date = 2026-01-01", "date = 2026-01-01T00:00:00Z", "date"),
        ("date = 2026-01-01", "date = 00:00:00", "date"),
        ("cpu = \"x86-64-v3\"", "cpu = \"native\"", "cpu"),
        ("\"aes\", ", "\"aes\", \"aes\", ", "cpu_features"),
        ("\"aes\", ", "\"avx512f\", ", "cpu_features"),
    ] {
        assert!(IMAGE.contains(line), "{line}");
        match Parameters::from_toml(&IMAGE.replacen(line, wrong, 1)) {
            Err(ParameterError::Range { name, .. }) => assert_eq!(name, named, "{wrong}"),
            other => panic!("{wrong}: {other:?}"),
        }
    }
}

#[test]
fn what_is_unknown_missing_or_of_another_type_is_refused() {
    for (line, wrong) in [
        ("threads = 33", "threads = 33\nthread = 1"),
        ("threads = 33", ""),
        ("threads = 33", "threads = -1"),
        ("isv_svn = 1", "isv_svn = 65536"),
        ("debug = false", "debug = 0"),
        ("date = 2026-01-01", "date = 2026-02-30"),
    ] {
        assert!(IMAGE.contains(line), "{line}");
        let outcome = Parameters::from_toml(&IMAGE.replacen(line, wrong, 1));
        assert!(matches!(outcome, Err(ParameterError::Toml(_))), "{wrong}: {outcome:?}");
    }
}
