//! Who may call, and what callers are told.

use super::super::callers::{ApiKeys, HostNames, Origins, api_keys, host_names, origins};
use super::super::setting::Fallback::Value;
use super::super::setting::{Secret, Setting, Typed, choice};
use super::{Group, settings};

const ALONE: &str = "without a Functions host";

settings! { CALLERS, "Callers":
    API_KEYS: ApiKeys = api_keys(Setting {
        name: "SCORE_API_KEYS",
        applies: "without a Functions host, and under one for HTTP functions whose `authLevel` is `anonymous`",
        meaning: "Keys of which a caller sends one, as `Authorization: Bearer`, `api-key`, `x-functions-key` or `?code=`. \
                  Several let one be exchanged for another. A digest is what `printf %s KEY | sha256sum` prints. `GET /` and \
                  the health paths need no key.",
        see: "security.md#keys",
        secret: Secret::Whole,
        ..Setting::USUAL
    });
    ALLOW_ANONYMOUS: bool = choice(Setting {
        name: "SCORE_ALLOW_ANONYMOUS",
        default: Value("off"),
        meaning: "`on` says that callers without a key are meant: without it the handler does not start under a Functions \
                  host if `authLevel` is `anonymous` and `SCORE_API_KEYS` is not set, and warns without a host if other \
                  machines reach it.",
        see: "security.md#keys",
        ..Setting::USUAL
    });
    ALLOWED_HOSTS: HostNames = host_names(Setting {
        name: "SCORE_ALLOWED_HOSTS",
        applies: ALONE,
        meaning: "Names that the header `Host` may have beside `localhost` and loopback addresses, for a reverse proxy on \
                  this machine. On a loopback address all others are refused, because pages in browsers can give any name \
                  this address; on other addresses only if the setting is set.",
        see: "security.md#browsers",
        ..Setting::USUAL
    });
    CORS_ORIGINS: Origins = origins(Setting {
        name: "SCORE_CORS_ORIGINS",
        applies: ALONE,
        meaning: "Origins whose pages may call from a browser: their preflights are answered, and answers are readable \
                  there.",
        see: "security.md#browsers",
        ..Setting::USUAL
    });
    REVEAL: bool = choice(Setting {
        name: "SCORE_REVEAL",
        default: Value("on"),
        meaning: "`off` leaves out what tells callers whether a row was scored before: the headers `X-Cache` and \
                  `Server-Timing`, and the members `cache` and `timings_ms` of result messages.",
        see: "security.md#what-answers-reveal",
        ..Setting::USUAL
    });
}
