use super::*;

fn example(policy: Option<&ImagePolicy>) -> ImageManifest {
    ImageManifest::new(&Facts {
        mrenclave: [0x11; 32],
        mrsigner: [0x22; 32],
        isv_prod_id: 1,
        isv_svn: 2,
        size: 1 << 31,
        heap: 1 << 30,
        stack: 1 << 20,
        threads: 33,
        code: 64 << 20,
        debug: false,
        xfrm: 7,
        cpu_features: &["aes", "avx2"],
        policy,
    })
    .unwrap()
}

#[test]
fn what_is_written_is_read() {
    let policy = ImagePolicy { development: true, ..ImagePolicy::default() };
    for policy in [None, Some(&policy), Some(&ImagePolicy::default())] {
        let manifest = example(policy);
        let read = ImageManifest::from_json(&manifest.to_json().unwrap()).unwrap();
        assert_eq!(read, manifest);
        assert_eq!(read.policy().unwrap().as_ref(), policy);
        assert_eq!(read.development, policy.is_some_and(|p| p.development));
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let text = example(Some(&ImagePolicy::default())).to_json().unwrap();
    let changed = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        ImageManifest::from_json(&text.replacen(from, to, 1)).unwrap_err()
    };
    assert!(matches!(changed("\"format\": 1", "\"format\": 2"), ManifestError::Format(2)));
    assert!(matches!(changed("\"size\"", "\"else\""), ManifestError::Json(_)));
    assert!(matches!(changed("1111", "1x11"), ManifestError::Json(_)));
    assert!(matches!(changed("\"threads\": 33", "\"threads\": -1"), ManifestError::Json(_)));
    assert!(matches!(changed("\"operators\"", "\"owners\""), ManifestError::Policy(_)));
    assert!(matches!(
        changed("\"development\": false", "\"development\": true"),
        ManifestError::Development(true)
    ));
}
