//! Names of apps, hostnames and route prefixes: what is not of the form is refused with the rule.

use std::fmt;

/// Why text is not a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not an app name.
    #[error("app name {0:?}: 1 to 63 characters of a-z, 0-9 and '-', neither first nor last a '-'")]
    App(String),
    /// Not a hostname.
    #[error(
        "hostname {0:?}: a DNS name in lower case, labels of 1 to 63 characters of a-z, 0-9 and '-' (neither first nor \
         last a '-'), 253 characters in all, and not an IP address"
    )]
    Hostname(String),
    /// Not a route prefix.
    #[error(
        "route prefix {0:?}: '/' and segments of A-Z, a-z, 0-9, '.', '_', '~' and '-', at most 255 characters, without a \
         '/' at the end, without '.' and '..' as segments and not under /.enclave"
    )]
    RoutePrefix(String),
}

impl NameError {
    /// Stable, for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            NameError::App(_) => "bad-app-name",
            NameError::Hostname(_) => "bad-hostname",
            NameError::RoutePrefix(_) => "bad-route-prefix",
        }
    }
}

/// `[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?`, which is also a DNS label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppName(String);

/// A DNS name in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hostname(String);

/// `/` and one or more segments.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoutePrefix(String);

const MAX_HOSTNAME: usize = 253;
const MAX_PREFIX: usize = 255;
const RESERVED: &str = ".enclave";

impl AppName {
    /// Takes a name of the form.
    ///
    /// # Errors
    /// [`NameError::App`].
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if is_label(text) { Ok(AppName(text.to_owned())) } else { Err(NameError::App(shown(text))) }
    }

    /// The hostname an app has unless another was asked for: its name.
    pub fn hostname(&self) -> Result<Hostname, NameError> {
        Hostname::parse(&self.0)
    }

    /// The route prefix an app has unless another was asked for.
    pub fn route_prefix(&self) -> RoutePrefix {
        RoutePrefix(format!("/{}", self.0))
    }
}

impl Hostname {
    /// Takes a name of the form.
    ///
    /// # Errors
    /// [`NameError::Hostname`].
    pub fn parse(text: &str) -> Result<Self, NameError> {
        // A last label of digits alone would make it readable as an IPv4 address (WHATWG URL §3.5).
        let numeric = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let last = text.rsplit('.').next().unwrap_or(text);
        let valid = text.len() <= MAX_HOSTNAME
            && text.split('.').all(is_label)
            && !(numeric(last) && text.contains('.'));
        if valid { Ok(Hostname(text.to_owned())) } else { Err(NameError::Hostname(shown(text))) }
    }
}

impl RoutePrefix {
    /// Takes a prefix of the form.
    ///
    /// # Errors
    /// [`NameError::RoutePrefix`].
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let refused = || NameError::RoutePrefix(shown(text));
        let path = text.strip_prefix('/').ok_or_else(refused)?;
        let segments = || path.split('/');
        let valid = text.len() <= MAX_PREFIX
            && segments().all(is_segment)
            && !segments().next().is_some_and(|first| first.eq_ignore_ascii_case(RESERVED));
        if valid { Ok(RoutePrefix(text.to_owned())) } else { Err(refused()) }
    }

    /// What is left of `path` below this prefix, on a border of segments: empty or starting with `/`.
    pub fn strip<'a>(&self, path: &'a str) -> Option<&'a str> {
        path.strip_prefix(self.0.as_str()).filter(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_segment(text: &str) -> bool {
    !text.is_empty()
        && text != "."
        && text != ".."
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte))
}

/// As much of what was sent as fits into an error message.
fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

macro_rules! text {
    ($($name:ident)*) => {$(
        impl $name {
            /// As text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
    )*};
}
text!(AppName Hostname RoutePrefix);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn app_names() {
        let longest = "a".repeat(63);
        for good in ["a", "0", "test-app", "a--b", &longest] {
            assert_eq!(AppName::parse(good).unwrap().as_str(), good);
        }
        let too_long = "a".repeat(64);
        for bad in ["", "-a", "a-", "A", "a.b", "a_b", "a/b", "a\n", "ä", "a b", "..", &too_long] {
            let error = AppName::parse(bad).unwrap_err();
            assert_eq!(error.code(), "bad-app-name", "{bad:?}");
            assert!(error.to_string().contains("1 to 63"));
        }
    }

    #[test]
    fn hostnames() {
        for good in ["localhost", "test-app", "a.example.com", "1.example", "12"] {
            assert_eq!(Hostname::parse(good).unwrap().as_str(), good);
        }
        let too_long = ["a"; 128].join(".");
        for bad in
            ["", ".", "a.", ".a", "a..b", "A.b", "127.0.0.1", "a.1", "::1", "*.a", "a:1", "a/b", &too_long]
        {
            assert!(Hostname::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn route_prefixes() {
        for good in ["/a", "/A/b.c/~d_e-f", "/.well-known", "/.enclaved", "/a/.enclave"] {
            assert_eq!(RoutePrefix::parse(good).unwrap().as_str(), good);
        }
        let too_long = format!("/{}", "a".repeat(255));
        for bad in [
            "",
            "/",
            "a",
            "//a",
            "/a/",
            "/a//b",
            "/.",
            "/..",
            "/a/../b",
            "/.enclave",
            "/.enclave/v1",
            "/.Enclave",
            "/%61",
            "/a?b",
            "/a#b",
            "/a b",
            "/a\n",
            "/ä",
            &too_long,
        ] {
            assert!(RoutePrefix::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_prefix_ends_at_a_segment() {
        let prefix = RoutePrefix::parse("/app").unwrap();
        assert_eq!(prefix.strip("/app"), Some(""));
        assert_eq!(prefix.strip("/app/x"), Some("/x"));
        assert_eq!(prefix.strip("/apple"), None);
        assert_eq!(prefix.strip("/x/app"), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn what_is_accepted_is_safe_in_certificates_and_routes(text in any::<String>()) {
            let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
            for accepted in [
                AppName::parse(&text).map(String::from),
                Hostname::parse(&text).map(String::from),
                RoutePrefix::parse(&text).map(String::from),
            ].into_iter().flatten() {
                prop_assert!(plain(&accepted) && !accepted.is_empty() && accepted.len() <= 255);
            }
        }
    }
}
