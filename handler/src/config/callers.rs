//! Who may call: keys, the names by which the server is asked, and the origins of pages in browsers.

use std::fmt;
use std::net::IpAddr;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::reader::Reader;
use super::setting::{Kind, Setting, Typed};
use super::table;

/// Shorter keys can be guessed.
const SHORT_KEY: usize = 16;
/// What deployment tools leave in a value that they could not fill in: Azure, Kubernetes, Compose.
const UNFILLED: [&str; 3] = ["@microsoft.keyvault(", "$(", "${"];

/// The keys of callers, of which only the digests are kept.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct ApiKeys {
    digests: Vec<[u8; 32]>,
    /// Whether one of them can be guessed.
    is_short: bool,
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} keys", self.digests.len())
    }
}

impl ApiKeys {
    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.digests.is_empty()
    }

    /// Whether the text is one of the keys. How long the answer takes depends on the text's length alone.
    pub(crate) fn admit(&self, presented: &[u8]) -> bool {
        let presented: [u8; 32] = Sha256::digest(presented).into();
        let each = self.digests.iter().map(|digest| digest.ct_eq(&presented));
        each.fold(Choice::from(0), |any, one| any | one).into()
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut keys = Self::default();
        for key in text.split(',').map(str::trim) {
            keys.digests.push(match key.strip_prefix("sha256:") {
                Some(digits) => digest(digits)?,
                None => {
                    keys.is_short |= key.len() < SHORT_KEY;
                    Sha256::digest(plain(key)?).into()
                }
            });
        }
        Ok(keys)
    }
}

/// A key as it is.
fn plain(key: &str) -> Result<&[u8], String> {
    let lower = key.to_ascii_lowercase();
    let visible = |byte: u8| byte.is_ascii_graphic();
    if key.is_empty() {
        Err("a key before, between and after commas: one is empty".to_owned())
    } else if UNFILLED.iter().any(|start| lower.starts_with(start)) {
        Err("keys: one is a reference that was not filled in".to_owned())
    } else if !key.bytes().all(visible) {
        Err(
            "keys of visible ASCII characters, separated by commas: one has a space or another character within"
                .to_owned(),
        )
    } else {
        Ok(key.as_bytes())
    }
}

/// A digest in hexadecimal digits.
fn digest(digits: &str) -> Result<[u8; 32], String> {
    let expected = || "64 hexadecimal digits behind sha256:".to_owned();
    let mut digest = [0; 32];
    if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(expected());
    }
    for (index, byte) in digest.iter_mut().enumerate() {
        let pair = digits.get(2 * index..2 * index + 2);
        let value = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok());
        *byte = value.ok_or_else(expected)?;
    }
    Ok(digest)
}

/// Names of this server beside those of the machine's own address, in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct HostNames(Vec<String>);

impl HostNames {
    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a request may ask for it: `host` is what its `Host` says, with any port.
    pub(crate) fn take(&self, host: &str) -> bool {
        // What nearly all requests have, without a look at the rest.
        let usual = |name: &str| host.strip_prefix(name).is_some_and(is_port);
        if usual("127.0.0.1") || usual("localhost") {
            return true;
        }
        let Some(name) = without_port(host) else {
            return false;
        };
        let address = name.parse().map(|address: IpAddr| address.to_canonical());
        name.eq_ignore_ascii_case("localhost")
            || address.is_ok_and(|address| address.is_loopback())
            || self.0.iter().any(|own| own.eq_ignore_ascii_case(name))
    }

    fn parse(setting: &Setting, text: &str) -> Result<Self, String> {
        let letter = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let names = text.split(',').map(|name| {
            let name = name.trim();
            let bare = name.trim_start_matches('[').trim_end_matches(']');
            if bare.parse::<IpAddr>().is_ok() {
                return Ok(bare.to_ascii_lowercase());
            }
            let name = name.strip_suffix('.').unwrap_or(name);
            match !name.is_empty() && name.chars().all(letter) {
                true => Ok(name.to_ascii_lowercase()),
                false => Err(setting.kind.expected()),
            }
        });
        names.collect::<Result<_, _>>().map(Self)
    }
}

/// What may follow a name: nothing, or a colon and digits.
fn is_port(text: &str) -> bool {
    let digits = text.strip_prefix(':');
    text.is_empty() || digits.is_some_and(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The name or address of an authority, without brackets and without the dot that may end a name.
fn without_port(host: &str) -> Option<&str> {
    if let Some(rest) = host.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        return is_port(port).then_some(address);
    }
    let (name, port) = host.split_at(host.find(':').unwrap_or(host.len()));
    is_port(port).then(|| name.strip_suffix('.').unwrap_or(name))
}

/// Origins whose pages may call this server from a browser.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Origins {
    /// None but the server's own.
    #[default]
    Own,
    /// All of them.
    Any,
    /// These, in lower case.
    Listed(Vec<String>),
}

impl Origins {
    /// Whether pages of others may call.
    pub(crate) fn are_shared(&self) -> bool {
        *self != Self::Own
    }

    /// Whether pages of this origin may call; `origin` is the value of the header `Origin`.
    pub(crate) fn take(&self, origin: &str) -> bool {
        match self {
            Self::Own => false,
            Self::Any => true,
            Self::Listed(origins) => origins.iter().any(|one| one.eq_ignore_ascii_case(origin)),
        }
    }

    fn parse(setting: &Setting, text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let origins = text.split(',').map(|origin| {
            let origin = origin.trim();
            // Copied from an address bar.
            let origin = origin.strip_suffix('/').unwrap_or(origin);
            match is_origin(origin) {
                true => Ok(origin.to_ascii_lowercase()),
                false => Err(setting.kind.expected()),
            }
        });
        origins.collect::<Result<_, _>>().map(Self::Listed)
    }
}

/// Scheme, host and perhaps a port, as in RFC 6454 section 6.2: extensions and desktop programs have schemes of their own.
fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else {
        return false;
    };
    let in_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    let in_host = |c: char| c.is_ascii_alphanumeric() || "-_.:[]".contains(c);
    let all = |text: &str, allowed: fn(char) -> bool| !text.is_empty() && text.chars().all(allowed);
    all(scheme, in_scheme) && all(host, in_host)
}

/// A row whose value is a list of keys.
pub(super) const fn api_keys(setting: Setting) -> Typed<ApiKeys> {
    let form = "keys separated by commas, each plain or as sha256: and 64 hexadecimal digits";
    Typed {
        setting: Setting {
            kind: Kind::Text(form),
            ..setting
        },
        parse: |_, text| ApiKeys::parse(text),
    }
}

/// A row whose value is a list of names.
pub(super) const fn host_names(setting: Setting) -> Typed<HostNames> {
    let form = "names without scheme, port and *, separated by commas, such as scores.example";
    Typed {
        setting: Setting {
            kind: Kind::Text(form),
            ..setting
        },
        parse: HostNames::parse,
    }
}

/// A row whose value is a list of origins.
pub(super) const fn origins(setting: Setting) -> Typed<Origins> {
    let form =
        "origins without a path, separated by commas, such as https://app.example, or * for all";
    Typed {
        setting: Setting {
            kind: Kind::Text(form),
            ..setting
        },
        parse: Origins::parse,
    }
}

/// The keys of callers. A variable that is there but empty is a secret that got lost, and must not open the server.
pub(super) fn read_keys(reader: &mut Reader<'_>) -> ApiKeys {
    let name = table::API_KEYS.setting.name;
    if reader.environment.raw(name).is_some() && !reader.is_set(&table::API_KEYS) {
        let mistake = format!("{name}: it is empty; set keys, or remove the variable");
        reader.mistakes.push(mistake);
    }
    reader.value(&table::API_KEYS)
}

/// What an operator should know of these settings. `beyond`: callers of other machines reach a server without a host.
pub(super) fn remarks(
    reader: &Reader<'_>,
    keys: &ApiKeys,
    hosted: bool,
    beyond: bool,
) -> Vec<String> {
    let mut remarks = Vec::new();
    let short = "SCORE_API_KEYS: a key of fewer than 16 characters can be guessed; \
                 `openssl rand -hex 32` makes a long one";
    let cors = "SCORE_CORS_ORIGINS has no effect under a Functions host, which answers browsers itself: \
                set the origins in the function app's CORS settings";
    let open = "other machines reach this server, and it asks for no key: set SCORE_API_KEYS, or SCORE_ALLOW_ANONYMOUS=on if \
                something else keeps strangers out";
    if keys.is_short {
        remarks.push(short.to_owned());
    }
    if hosted && reader.is_set(&table::CORS_ORIGINS) {
        remarks.push(cors.to_owned());
    }
    let anonymous = reader.environment.find(&table::ALLOW_ANONYMOUS.setting);
    let meant = anonymous.is_some_and(|(_, value)| value.eq_ignore_ascii_case("on"));
    if beyond && keys.is_empty() && !meant {
        remarks.push(open.to_owned());
    }
    remarks
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf %s second-key-0123456789 | sha256sum`.
    const DIGEST: &str = "sha256:cdc8bf8583da505da0340b103c182d172408e4a68698993e485475e2f7e74b36";

    #[test]
    fn keys_are_plain_or_digests_and_several_are_taken() {
        let keys = ApiKeys::parse(&format!("first-key-0123456789, {DIGEST}")).unwrap();
        assert!(!keys.is_short);
        for known in ["first-key-0123456789", "second-key-0123456789"] {
            assert!(keys.admit(known.as_bytes()), "{known}");
        }
        for unknown in ["", "first-key-012345678", "FIRST-KEY-0123456789", DIGEST] {
            assert!(!keys.admit(unknown.as_bytes()), "{unknown}");
        }
        assert!(!ApiKeys::default().admit(b""));
        assert_eq!(format!("{keys:?}"), "2 keys");
        assert!(ApiKeys::parse("short").unwrap().is_short);
        let upper = DIGEST.to_ascii_uppercase().replace("SHA", "sha");
        assert_eq!(ApiKeys::parse(&upper), ApiKeys::parse(DIGEST));
    }

    #[test]
    fn what_is_no_key_is_refused_without_being_quoted() {
        for (text, reason) in [
            (",", "one is empty"),
            ("hunter2,", "one is empty"),
            ("hunter2,,hunter3", "one is empty"),
            ("hunter2 hunter3", "has a space"),
            ("hunter2\nhunter3", "has a space"),
            ("hünter2", "another character"),
            ("sha256:", "64 hexadecimal digits"),
            ("sha256:hunter2", "64 hexadecimal digits"),
            (&DIGEST[..70], "64 hexadecimal digits"),
            (
                "@Microsoft.KeyVault(SecretUri=https://hunter2/)",
                "not filled in",
            ),
            ("$(SCORE_KEY)", "not filled in"),
            ("${SCORE_KEY}", "not filled in"),
        ] {
            let refusal = ApiKeys::parse(text).unwrap_err();
            assert!(refusal.contains(reason), "{text}: {refusal}");
            assert!(!refusal.contains("hunter"), "{text}: {refusal}");
        }
    }

    #[test]
    fn the_own_names_are_the_loopback_ones_and_those_of_the_setting() {
        let setting = &table::ALLOWED_HOSTS.setting;
        let names = HostNames::parse(setting, "Scores.Example., my_host, [fd00::1], 10.0.0.7");
        let names = names.unwrap();
        for own in [
            "localhost",
            "LocalHost:7071",
            "localhost.",
            "localhost.:80",
            "localhost:",
            "127.0.0.1",
            "127.0.0.1:1",
            "127.8.8.8",
            "[::1]",
            "[::1]:7071",
            "[::ffff:127.0.0.1]:80",
            "scores.example",
            "SCORES.EXAMPLE.:443",
            "my_host:80",
            "[fd00::1]:1",
            "10.0.0.7:7071",
        ] {
            assert!(names.take(own), "{own}");
        }
        for other in [
            "",
            ":80",
            "evil.example",
            "localhost.evil.example",
            "xlocalhost",
            "127.0.0.1.evil.example:80",
            "localhost..",
            "localhost:80:80",
            "localhost:8o",
            "user@localhost",
            "localhost, evil.example",
            "scores.example,scores.example",
            "[::1",
            "::1",
            "[::1]x",
            "[fe80::1%25eth0]",
            "[::1%25lo]",
            "2130706433",
            "0.0.0.0",
            "[::]",
            "0177.0.0.1",
            "127.1",
            "localhost/",
            "localhost#",
        ] {
            assert!(!names.take(other), "{other}");
        }
        for wrong in [
            "*",
            "*.example",
            "https://scores.example",
            "scores.example:80",
            "a,,b",
            "a b",
            "a/b",
            "ö.example",
        ] {
            assert!(HostNames::parse(setting, wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn origins_are_compared_as_a_whole() {
        let setting = &table::CORS_ORIGINS.setting;
        let parse = |text| Origins::parse(setting, text);
        let listed =
            parse("https://App.example/, http://localhost:3000,chrome-extension://abc").unwrap();
        for origin in [
            "https://app.example",
            "http://localhost:3000",
            "chrome-extension://abc",
        ] {
            assert!(listed.take(origin), "{origin}");
        }
        for origin in [
            "http://app.example",
            "https://app.example:8443",
            "https://app.example.evil",
            "null",
            "",
        ] {
            assert!(!listed.take(origin), "{origin}");
        }
        assert!(parse("*").unwrap().take("null"));
        assert!(!Origins::Own.take("https://app.example"));
        for wrong in [
            "null",
            "app.example",
            "https://*.example",
            "https://a/b",
            "https://",
            "*,https://a",
            "https://a b",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
