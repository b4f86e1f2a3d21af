//! The reserved tree `/.enclave/v1`.

use http::Method;

/// Where the reserved tree begins.
pub(super) const RESERVED: &str = ".enclave";
const VERSION: &str = "v1";

/// One operation of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Health,
    Ready,
    Manifest,
    Proof,
    List,
    Load,
    Describe,
    Unload,
    Call,
    Run,
    Schema,
    CaCsr,
    CaInstall,
    Challenge,
    OpenApi,
    Attest,
    Evidence,
    Metrics,
    Logs,
}

/// A method and path below `/.enclave/v1`, for documents and their tests.
pub struct RouteInfo {
    /// The method.
    pub method: &'static str,
    /// The path; segments in braces are names.
    pub path: &'static str,
    /// Whether this build carries it out; otherwise it answers 501.
    pub available: bool,
    route: Route,
}

const fn route(method: &'static str, path: &'static str, route: Route) -> RouteInfo {
    RouteInfo { method, path, available: true, route }
}

const fn later(method: &'static str, path: &'static str, route: Route) -> RouteInfo {
    RouteInfo { method, path, available: false, route }
}

/// Every operation below `/.enclave/v1`.
pub const ROUTES: &[RouteInfo] = &[
    route("GET", "health", Route::Health),
    route("GET", "ready", Route::Ready),
    route("GET", "manifest", Route::Manifest),
    route("GET", "proofs/{leaf}", Route::Proof),
    route("GET", "apps", Route::List),
    route("PUT", "apps/{name}", Route::Load),
    route("GET", "apps/{name}", Route::Describe),
    route("DELETE", "apps/{name}", Route::Unload),
    route("POST", "apps/{name}/call/{function}", Route::Call),
    route("POST", "apps/{name}/run", Route::Run),
    route("GET", "apps/{name}/schema", Route::Schema),
    route("GET", "ca/csr", Route::CaCsr),
    route("POST", "ca/install", Route::CaInstall),
    route("GET", "challenge", Route::Challenge),
    route("POST", "challenge", Route::Challenge),
    route("GET", "openapi.json", Route::OpenApi),
    route("POST", "attest", Route::Attest),
    route("GET", "evidence", Route::Evidence),
    later("GET", "metrics", Route::Metrics),
    later("GET", "apps/{name}/logs", Route::Logs),
];

/// What a request is for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// An operation and the names in its path, undecoded.
    Route(Route, Vec<&'a str>),
    /// The path exists, for these methods.
    Methods(Vec<&'static str>),
    /// No such path in the reserved tree.
    Nothing,
    /// Not in the reserved tree.
    Outside,
}

/// Finds the operation for `method` and the segments of a path. `HEAD` is as `GET`.
pub(super) fn find<'a>(method: &Method, segments: &[&'a str]) -> Found<'a> {
    let below = match segments {
        [first, VERSION, below @ ..] if *first == RESERVED => below,
        [first, ..] if first.eq_ignore_ascii_case(RESERVED) => return Found::Nothing,
        _ => return Found::Outside,
    };
    let method = if method == Method::HEAD { "GET" } else { method.as_str() };
    let mut methods = Vec::new();
    for info in ROUTES {
        let Some(names) = fit(info.path, below) else { continue };
        if info.method == method {
            return Found::Route(info.route, names);
        }
        methods.push(info.method);
    }
    if methods.is_empty() { Found::Nothing } else { Found::Methods(methods) }
}

fn fit<'a>(path: &str, segments: &[&'a str]) -> Option<Vec<&'a str>> {
    let mut names = Vec::new();
    let mut given = segments.iter();
    for wanted in path.split('/') {
        let segment = given.next()?;
        if wanted.starts_with('{') {
            names.push(*segment);
        } else if wanted != *segment {
            return None;
        }
    }
    given.next().is_none().then_some(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn operations_are_found_by_method_and_segments() {
        let get = |segments: &[&'static str]| find(&Method::GET, segments);
        assert_eq!(get(&[".enclave", "v1", "health"]), Found::Route(Route::Health, vec![]));
        assert_eq!(get(&[".enclave", "v1", "apps", "a%2Fb"]), Found::Route(Route::Describe, vec!["a%2Fb"]));
        assert_eq!(
            find(&Method::POST, &[".enclave", "v1", "apps", "a", "call", "f"]),
            Found::Route(Route::Call, vec!["a", "f"])
        );
        assert_eq!(find(&Method::HEAD, &[".enclave", "v1", "ready"]), Found::Route(Route::Ready, vec![]));
        assert_eq!(
            find(&Method::PATCH, &[".enclave", "v1", "apps", "a"]),
            Found::Methods(vec!["PUT", "GET", "DELETE"])
        );
        for nothing in [
            &[".enclave"][..],
            &[".enclave", "v2", "health"],
            &[".Enclave", "v1", "health"],
            &[".enclave", "v1", "health", "x"],
        ] {
            assert_eq!(get(nothing), Found::Nothing, "{nothing:?}");
        }
        assert_eq!(get(&["%2eenclave", "v1", "health"]), Found::Outside);
        assert_eq!(get(&[]), Found::Outside);
    }

    #[test]
    fn the_openapi_document_lists_exactly_these_operations() {
        let document: serde_json::Value = serde_json::from_str(crate::OPENAPI).unwrap();
        assert!(document["openapi"].as_str().unwrap().starts_with("3."));
        let mut described = BTreeSet::new();
        for (path, operations) in document["paths"].as_object().unwrap() {
            let parameters = operations["parameters"].as_array().cloned().unwrap_or_default();
            for name in path.split('/').filter_map(|s| s.strip_prefix('{')?.strip_suffix('}')) {
                assert!(
                    parameters
                        .iter()
                        .any(|p| p["name"] == name && p["in"] == "path" && p["required"] == true),
                    "{path} does not describe {name}"
                );
            }
            for (method, operation) in operations.as_object().unwrap() {
                if method == "parameters" {
                    continue;
                }
                let available = operation["responses"].get("501").is_none();
                assert!(
                    operation["summary"].is_string() && operation["operationId"].is_string(),
                    "{method} {path}"
                );
                described.insert((method.to_uppercase(), path.clone(), available));
            }
        }
        let served = ROUTES
            .iter()
            .map(|info| (info.method.to_owned(), format!("/.enclave/v1/{}", info.path), info.available))
            .collect();
        assert_eq!(described, served);
    }
}
