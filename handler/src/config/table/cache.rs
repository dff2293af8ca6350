//! The cache, Redis, and who may log in to it.

use std::path::PathBuf;
use std::time::Duration;

use score::{CachePolicy, EntrySecret, Namespace};

use super::super::redis::RedisAuth;
use super::super::setting::Fallback::{Described, Value};
use super::super::setting::{
    Kind, Secret, Setting, Typed, choice, entry_secret, namespace, number, optional_path, text,
    time, time_or_zero,
};
use super::{Group, settings};

settings! { CACHE, "Cache":
    CACHE_POLICY: CachePolicy = choice(Setting {
        name: "SCORE_CACHE_POLICY",
        default: Value("always"),
        meaning: "When results are looked up: `always`; `auto`, only where measured costs show that a look-up saves time; \
                  `off`, never, and no result is stored.",
        see: "cache.md#when-the-cache-pays",
        ..Setting::USUAL
    });
    CACHE_TTL: Option<Duration> = time_or_zero(Setting {
        name: "SCORE_CACHE_TTL",
        default: Value("24h"),
        applies: "with Redis",
        meaning: "How long Redis keeps a result, varied by up to a tenth. `0` keeps results until Redis evicts them. \
                  `ttl` in model.toml sets it for one model.",
        ..Setting::USUAL
    });
    CACHE_NAMESPACE: Namespace = namespace(Setting {
        name: "SCORE_CACHE_NAMESPACE",
        kind: Kind::Text("1 to 64 letters, digits, and characters of `-_.`"),
        default: Value("score"),
        applies: "with Redis",
        meaning: "The first part of every key in Redis. Results stored under another namespace are not found.",
        see: "cache.md",
        ..Setting::USUAL
    });
    CACHE_SECRET: Option<EntrySecret> = entry_secret(Setting {
        name: "SCORE_CACHE_SECRET",
        kind: Kind::Text("32 characters or more, such as `openssl rand -hex 32` prints"),
        applies: "with Redis",
        meaning: "Signs the results in Redis, so that who can write to Redis cannot forge scores. Results that were stored with \
                  another secret, or without one, are computed again.",
        see: "cache.md#who-can-write-to-redis",
        secret: Secret::Whole,
        ..Setting::USUAL
    });
    L1_BYTES: u64 = number("bytes", 0, Setting {
        name: "SCORE_L1_BYTES",
        default: Value("67108864"),
        meaning: "The size of the in-process cache; `0` for none.",
        ..Setting::USUAL
    });
}

settings! { REDIS, "Redis":
    REDIS_URL: Option<String> = text("a URL such as rediss://host:6380", Setting {
        name: "REDIS_URL",
        meaning: "Where Redis is: `redis://` or `rediss://` (TLS) with `[user]:[password]@host:port[/database]`, or \
                  `redis-cluster://` and `rediss-cluster://` with one or more hosts.",
        see: "settings.md#which-redis-on-azure",
        secret: Secret::InAddress,
        ..Setting::USUAL
    });
    REDIS_CONNECTION_STRING: Option<String> = text("a connection string", Setting {
        name: "REDIS_CONNECTION_STRING",
        meaning: "Instead of the URL: the string that the Azure portal shows (`host:6380,password=...,ssl=True`). Set one of \
                  the two.",
        secret: Secret::Whole,
        ..Setting::USUAL
    });
    REDIS_AUTH: RedisAuth = choice(Setting {
        name: "REDIS_AUTH",
        default: Value("key"),
        meaning: "How the handler logs in to Redis: `key`, with the user and password of the address, if it has any; `entra`, \
                  by Microsoft Entra ID without a password, which needs TLS.",
        see: "settings.md#log-in-by-microsoft-entra-id",
        ..Setting::USUAL
    });
    CLIENT_ID: Option<String> = text("the client id of an identity", Setting {
        name: "AZURE_CLIENT_ID",
        default: Described("none"),
        applies: "with `REDIS_AUTH=entra`",
        meaning: "The client id of the app's user-assigned identity. Without it the app's system-assigned identity logs in.",
        ..Setting::USUAL
    });
    REDIS_TIMEOUT: Duration = time(Setting {
        name: "REDIS_TIMEOUT",
        default: Value("50ms"),
        applies: "with Redis",
        meaning: "How long one look-up of results may take before the request goes on without Redis.",
        ..Setting::USUAL
    });
    FEATURES_TIMEOUT: Duration = time(Setting {
        name: "SCORE_FEATURES_TIMEOUT",
        default: Value("2s"),
        applies: "with Redis",
        meaning: "How long reading the features of one request by key may take, within `SCORE_TIMEOUT`.",
        see: "features.md",
        ..Setting::USUAL
    });
    REDIS_CA_FILE: Option<PathBuf> = optional_path(Setting {
        name: "REDIS_CA_FILE",
        default: Described("the system's certificates"),
        applies: "with Redis and TLS",
        meaning: "A PEM file with the only certificate authorities to trust.",
        ..Setting::USUAL
    });
}
