use std::path::Path;

use score::CachePolicy;
use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;

use super::*;

fn read(settings: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    Config::read(&settings.iter().copied().collect()).map_err(|mistakes| mistakes.0)
}

#[test]
fn without_settings_it_listens_on_loopback_7071_without_redis() {
    let config = read(&[]).unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:7071");
    assert!(!config.hosted && config.cache.redis.is_none());
    assert_eq!(config.model_dir, Path::new("./models"));
}

#[test]
fn the_hosts_port_wins_and_stays_on_loopback() {
    for name in ["FUNCTIONS_CUSTOMHANDLER_PORT", "FUNCTIONS_HTTPWORKER_PORT"] {
        let config = read(&[(name, "4711"), ("SCORE_BIND", "0.0.0.0")]).unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:4711");
        assert!(config.hosted);
    }
}

#[test]
fn envelopes_come_from_a_host_or_by_a_setting() {
    let host = ("FUNCTIONS_CUSTOMHANDLER_PORT", "4711");
    let tools = ("FUNCTIONS_CORETOOLS_ENVIRONMENT", "true");
    let on = ("SCORE_ENVELOPES", "on");
    for (settings, expected) in [
        (&[][..], Envelopes::Refused),
        (&[tools], Envelopes::Refused),
        (&[on], Envelopes::AnyLength),
        (&[host], Envelopes::Chunked),
        // It relaxes nothing under a host.
        (&[host, on], Envelopes::Chunked),
        (&[host, tools], Envelopes::AnyLength),
    ] {
        assert_eq!(read(settings).unwrap().envelopes, expected, "{settings:?}");
    }
}

#[test]
fn empty_values_count_as_not_set() {
    assert!(read(&[("REDIS_URL", ""), ("SCORE_TIMEOUT", " ")]).is_ok());
}

#[test]
fn reports_every_mistake_at_once_and_no_secret() {
    let mistakes = read(&[
        ("SCORE_PORT", "web"),
        ("SCORE_MAX_ROWS", "0"),
        ("REDIS_TIMEOUT", "50"),
        ("SCORE_CACHE_POLICY", "sometimes"),
        ("REDIS_URL", "amqp://:hunter2@h"),
        ("SCORE_LOG_FILTER", "a=b=c"),
        ("SCORE_CACHE_NAMESPACE", "eu:west"),
    ])
    .unwrap_err();
    assert_eq!(mistakes.len(), 7, "{mistakes:#?}");
    let all = mistakes.join("\n");
    assert!(all.contains(r#"REDIS_TIMEOUT="50": expected a time with its unit"#));
    assert!(all.contains("always, auto or off"));
    assert!(all.contains(r#"SCORE_CACHE_NAMESPACE="eu:west": expected 1 to 64 characters"#));
    assert!(!all.contains("hunter2"));
}

#[test]
fn a_secret_that_could_be_guessed_is_refused_and_none_is_shown() {
    let long = "hunter2!".repeat(4);
    let unresolved = "@Microsoft.KeyVault(SecretUri=https://hunter2.vault.azure.net/secrets/s)";
    for (secret, expected) in [
        (&long[1..], "expected at least 32 characters"),
        (unresolved, "Key Vault"),
    ] {
        let mistakes = read(&[("SCORE_CACHE_SECRET", secret)]).unwrap_err();
        let mistake = &mistakes[0];
        assert!(
            mistake.starts_with("SCORE_CACHE_SECRET: expected "),
            "{mistake}"
        );
        assert!(
            mistake.contains(expected) && !mistake.contains("hunter2"),
            "{mistake}"
        );
    }
    let config = read(&[("SCORE_CACHE_SECRET", &long)]).unwrap();
    assert!(config.cache.secret.is_some() && !format!("{config:?}").contains("hunter2"));
    assert!(read(&[]).unwrap().cache.secret.is_none());
}

#[test]
fn entra_needs_an_address_with_tls_and_without_a_password() {
    let with = |url: &str| {
        let settings = [("REDIS_AUTH", "entra"), ("REDIS_URL", url)];
        read(&settings).map(|config| config.cache.redis.unwrap().describe())
    };
    for (url, expected) in [
        ("", "expected REDIS_URL"),
        ("rediss://:hunter2@h", "without user and password"),
        ("rediss://me@h", "without user and password"),
        ("redis://h", "expected TLS"),
        ("redis-cluster://127.0.0.1,h", "expected TLS"),
    ] {
        let mistakes = with(url).unwrap_err();
        assert!(mistakes[0].contains(expected), "{mistakes:?}");
        assert!(mistakes.len() == 1 && !mistakes[0].contains("hunter2"));
    }
    for url in ["rediss://h", "redis://[::1]:7000", "redis://localhost"] {
        assert!(with(url).unwrap().contains("Entra ID"), "{url}");
    }
    let wrong = read(&[("REDIS_AUTH", "ntlm"), ("REDIS_URL", "redis://h")]);
    assert!(wrong.unwrap_err()[0].contains("key or entra"));
}

#[test]
fn libraries_are_silent_unless_the_filter_names_them() {
    let heard = |filter: &str| {
        let config = read(&[("SCORE_LOG_FILTER", filter)]).unwrap();
        let filter = EnvFilter::new(&config.log_filter);
        let registry = tracing_subscriber::registry().with(filter);
        tracing::subscriber::with_default(registry, || {
            let library = tracing::enabled!(target: "fred::router", Level::WARN);
            let own = tracing::enabled!(target: "handler::scoring", Level::DEBUG);
            let usual = tracing::enabled!(target: "score::model", Level::INFO);
            (library, own, usual)
        })
    };
    assert_eq!(heard(""), (false, false, true));
    assert_eq!(heard("debug"), (false, true, true));
    assert_eq!(heard("debug,fred=warn"), (true, true, true));
    // One part more says nothing of the others.
    assert_eq!(heard("handler=debug"), (false, true, true));
    assert_eq!(heard("fred=warn"), (true, false, true));
    // A level of its own is meant for all.
    assert_eq!(heard("warn"), (false, false, false));
    assert_eq!(heard("off,handler=debug"), (false, true, false));
}

#[test]
fn a_ttl_of_0_means_for_ever() {
    assert_eq!(read(&[("SCORE_CACHE_TTL", "0")]).unwrap().cache.ttl, None);
}

#[test]
fn paths_are_resolved_against_the_app_root() {
    let config = read(&[
        ("FUNCTIONS_APP_ROOT_PATH", "/app"),
        ("SCORE_MODEL_DIR", "m"),
    ])
    .unwrap();
    assert_eq!(config.model_dir, Path::new("/app/m"));
}

/// A value in quotes is a mistake for every setting, so each that is read has one.
#[test]
fn every_setting_of_its_own_is_read_from_the_variables_that_its_row_names() {
    let by_host = |setting: &&Setting| setting.applies.contains("function.json");
    let read_here = [
        table::MODELS,
        table::LISTENING,
        table::CALLERS,
        table::LIMITS,
        table::MESSAGES,
        table::CACHE,
        table::REDIS,
        table::LOGS,
    ];
    for setting in read_here.iter().flat_map(|group| group.settings) {
        for name in setting.names() {
            let mistakes = read(&[(name, "'x'")]).err().unwrap_or_default();
            let told = mistakes
                .iter()
                .any(|mistake| mistake.starts_with(name) && mistake.contains("remove the quotes"));
            assert_eq!(told, !by_host(&setting), "{name}: {mistakes:?}");
        }
    }
}

#[test]
fn spaces_and_line_ends_around_a_value_are_no_part_of_it() {
    let config = read(&[
        ("SCORE_TIMEOUT", " 5s\r\n"),
        ("SCORE_CACHE_POLICY", "Auto\r"),
        ("SCORE_DEFAULT_MODEL", "mnist\r"),
        ("SCORE_MODEL_DIR", " /models "),
        ("REDIS_URL", "redis://h\r\n"),
    ])
    .unwrap();
    assert_eq!(config.timeout, Duration::from_secs(5));
    assert_eq!(config.cache.policy, CachePolicy::Auto);
    assert_eq!(config.default_model.as_deref(), Some("mnist"));
    assert_eq!(config.model_dir, Path::new("/models"));
    assert_eq!(config.cache.redis.unwrap().hosts, [("h".to_owned(), 6379)]);
}

#[test]
fn a_long_value_is_quoted_in_part() {
    let mistakes = read(&[("SCORE_TIMEOUT", &"ä".repeat(1000))]).unwrap_err();
    assert!(mistakes[0].contains(&format!("\"{}\"...", "ä".repeat(200))));
}

#[test]
fn a_server_that_anyone_may_ask_is_a_remark() {
    let remarks = |variables: &[(&str, &str)]| read(variables).unwrap().remarks.join("\n");
    let open = ("SCORE_BIND", "0.0.0.0");
    let long = ("SCORE_API_KEYS", "a-key-of-sixteen+");
    for (variables, told) in [
        (&[open][..], "asks for no key"),
        (&[("SCORE_BIND", "::")], "asks for no key"),
        (&[open, long], ""),
        (&[open, ("SCORE_ALLOW_ANONYMOUS", "On")], ""),
        (&[("SCORE_BIND", "127.0.0.2")], ""),
        (&[], ""),
        (&[("SCORE_API_KEYS", "short")], "fewer than 16 characters"),
    ] {
        let found = remarks(variables);
        assert_eq!(found.is_empty(), told.is_empty(), "{variables:?}: {found}");
        assert!(found.contains(told), "{variables:?}: {found}");
    }
    let hosted = ("FUNCTIONS_CUSTOMHANDLER_PORT", "4711");
    let found = remarks(&[hosted, open, ("SCORE_CORS_ORIGINS", "*")]);
    assert!(
        found.starts_with("SCORE_CORS_ORIGINS has no effect"),
        "{found}"
    );
}

#[test]
fn a_misspelled_name_is_a_remark() {
    let remarks = read(&[("SCORE_TIMOUT", "s3cret")]).unwrap().remarks;
    assert!(remarks[0].contains("did you mean SCORE_TIMEOUT?"));
    assert!(!remarks[0].contains("s3cret"));
}

#[test]
fn months_are_not_minutes() {
    assert!(read(&[("SCORE_MESSAGE_TIMEOUT", "4M")]).is_err());
}

#[test]
fn every_row_says_what_it_is() {
    let mut seen = std::collections::BTreeSet::new();
    for setting in table::all() {
        for name in setting.names() {
            assert!(seen.insert(name), "{name} is in two rows");
        }
        let meaning = setting.meaning;
        assert!(
            meaning.ends_with('.') && !meaning.contains("  "),
            "{meaning}"
        );
        assert!(!setting.kind.expected().is_empty() && !setting.default.text().is_empty());
        assert!(!setting.applies.ends_with('.'));
    }
}

#[test]
fn connections_leave_files_for_everything_else() {
    let most = read(&[]).unwrap().max_connections;
    assert!((1..=USUAL_CONNECTIONS).contains(&most));
    let few = read(&[("SCORE_MAX_CONNECTIONS", "3")]).unwrap();
    assert_eq!(few.max_connections, 3);
    let mistakes = read(&[("SCORE_MAX_CONNECTIONS", "4000000000000")]).unwrap_err();
    assert!(mistakes[0].contains("ulimit -n"), "{}", mistakes[0]);
    assert!(read(&[("SCORE_MAX_CONNECTIONS", "0")]).is_err());
}

#[test]
fn containers_of_large_blobs_do_not_feed_each_other() {
    let settings = [
        ("SCORE_BLOBS_SCORED", "results"),
        ("SCORE_BLOBS_REJECTED", "refused"),
    ];
    assert!(read(&settings).is_ok());
    for name in ["SCORE_BLOBS_SCORED", "SCORE_BLOBS_REJECTED"] {
        let mistakes = read(&[(name, "incoming-large")]).unwrap_err();
        assert!(
            mistakes[0].contains("SCORE_BLOBS_INCOMING: expected another"),
            "{mistakes:?}"
        );
    }
    let mistakes = read(&[("SCORE_BLOBS_SCORED", "rejected")]).unwrap_err();
    assert!(
        mistakes[0].contains("SCORE_BLOBS_REJECTED: expected another"),
        "{mistakes:?}"
    );
}
