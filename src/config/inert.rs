//! Sections of the registries that we replace which do nothing here yet: their keys, so that they are told from
//! mistakes and so that their secrets are known.

use crate::config::schema::{Key, Shape, key, section, value, values};

pub(in crate::config) const HOOK: &[Key] = &[
    value("disabled"),
    value("type"),
    values("levels"),
    section(
        "options",
        &[
            section("smtp", &[value("addr"), value("username"), value("password").secret(), value("insecure")]),
            value("from"),
            values("to"),
        ],
    )
    .variable("MAILOPTIONS"),
];

pub(in crate::config) const MIDDLEWARE: &[Key] =
    &[value("name"), value("disabled"), key("options", Shape::Open).secret()];

pub(in crate::config) const H2C: &[Key] = &[value("enabled")];

const ENDPOINT: &[Key] = &[
    value("name"),
    value("disabled"),
    value("url"),
    key("headers", Shape::Named(&Shape::List(&Shape::Value))).secret(),
    value("timeout"),
    value("threshold"),
    value("maxretries"),
    value("backoff"),
    values("ignoredmediatypes"),
    section("ignore", &[values("mediatypes"), values("actions")]),
    value("queuepurgetimeout"),
    value("queuesizelimit"),
];

pub(in crate::config) const NOTIFICATIONS: &[Key] = &[
    section("events", &[value("includereferences")]).variable("EVENTCONFIG"),
    key("endpoints", Shape::List(&Shape::Section(ENDPOINT))),
    value("fanouttimeout"),
];

pub(in crate::config) const REDIS: &[Key] = &[
    value("addr"),
    values("addrs"),
    value("clientname"),
    value("db"),
    value("protocol"),
    value("username"),
    value("password").secret(),
    value("sentinelusername"),
    value("sentinelpassword").secret(),
    value("mastername"),
    value("mainname"),
    value("maxretries"),
    value("minretrybackoff"),
    value("maxretrybackoff"),
    value("dialtimeout"),
    value("readtimeout"),
    value("writetimeout"),
    value("contexttimeoutenabled"),
    value("poolfifo"),
    value("poolsize"),
    value("pooltimeout"),
    value("minidleconns"),
    value("maxidleconns"),
    value("maxactiveconns"),
    value("connmaxidletime"),
    value("connmaxlifetime"),
    value("maxredirects"),
    value("readonly"),
    value("routebylatency"),
    value("routerandomly"),
    value("disableidentity"),
    value("identitysuffix"),
    value("unstableresp3"),
    key("pool", Shape::Open),
    key("tls", Shape::Open),
    key("cache", Shape::Open),
    key("ratelimiting", Shape::Open),
    key("loadbalancing", Shape::Open),
];

pub(in crate::config) const PROXY: &[Key] = &[
    value("remoteurl"),
    value("username"),
    value("password").secret(),
    section("exec", &[value("command"), value("lifetime")]),
    value("ttl"),
    value("cachewritetimeout"),
];

pub(in crate::config) const POLICY: &[Key] = &[section("repository", &[values("classes")])];

pub(in crate::config) const COMPATIBILITY: &[Key] =
    &[section("schema1", &[value("enabled"), value("signingkeyfile").variable("TRUSTKEY")])];

pub(in crate::config) const REPORTING: &[Key] = &[
    section("bugsnag", &[value("apikey").secret(), value("releasestage"), value("endpoint")]),
    section("newrelic", &[value("licensekey").secret(), value("name"), value("verbose")]),
    section("sentry", &[value("enabled"), value("dsn").secret(), value("environment")]),
];
