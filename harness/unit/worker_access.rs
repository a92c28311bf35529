//! Who may ask for work, and under which id an answer travels.

use axum::http::{HeaderMap, HeaderValue, header};
use llorch::worker::access::Tokens;
use llorch::worker::callback::is_test_mode;
use llorch::worker::correlation::{self, CorrelationId};

pub const TESTS: &[(&str, fn())] = &[
    ("worker_access/no_token_admits_everybody", no_token_admits_everybody),
    ("worker_access/either_of_two_tokens_opens", either_of_two_tokens_opens),
    ("worker_access/nothing_but_a_token_opens", nothing_but_a_token_opens),
    ("worker_access/tokens_that_are_none_are_refused", tokens_that_are_none_are_refused),
    ("worker_access/sound_correlation_ids_are_kept", sound_correlation_ids_are_kept),
    ("worker_access/unsound_correlation_ids_are_replaced", unsound_correlation_ids_are_replaced),
    ("worker_access/test_mode_is_one_address", test_mode_is_one_address),
];

fn authorization(value: &str) -> HeaderMap {
    HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap())])
}

fn no_token_admits_everybody() {
    assert!(Tokens::default().admit(&HeaderMap::new()));
    assert!(Tokens::default().admit(&authorization("Bearer anything")));
}

fn either_of_two_tokens_opens() {
    let tokens = Tokens::parse("old-token, new-token").unwrap();
    for value in ["Bearer old-token", "Bearer new-token", "bearer new-token", "BEARER old-token"] {
        assert!(tokens.admit(&authorization(value)), "{value}");
    }
}

fn nothing_but_a_token_opens() {
    let tokens = Tokens::parse("old-token,new-token").unwrap();
    assert!(!tokens.admit(&HeaderMap::new()));
    for value in [
        "",
        "Bearer",
        "Bearer ",
        "old-token",
        "Basic old-token",
        "Bearer old-toke",
        "Bearer old-tokens",
        "Bearer old-token,new-token",
    ] {
        assert!(!tokens.admit(&authorization(value)), "{value:?}");
    }
}

fn tokens_that_are_none_are_refused() {
    for text in ["", ",", "a,", ",a", "a,b,c", "a b", "a\nb", "é"] {
        assert!(Tokens::parse(text).is_none(), "{text:?}");
    }
}

fn correlated(value: &[u8]) -> String {
    let value = HeaderValue::from_bytes(value).unwrap();
    CorrelationId::of(&HeaderMap::from_iter([(correlation::HEADER, value)])).as_str().to_owned()
}

fn sound_correlation_ids_are_kept() {
    let longest = "x".repeat(64);
    for id in ["a", "A-1", "550e8400-e29b-41d4-a716-446655440000", &longest] {
        assert_eq!(correlated(id.as_bytes()), id);
    }
}

fn unsound_correlation_ids_are_replaced() {
    let too_long = "x".repeat(65);
    for id in [&b""[..], b"a b", b"a_b", b"a.b", b"\xff", b"id: evil", too_long.as_bytes()] {
        let fresh = correlated(id);
        let parsed = uuid::Uuid::parse_str(&fresh).unwrap();
        assert_eq!(parsed.get_version_num(), 4);
        assert_ne!(fresh, correlated(id), "a fresh one each time");
    }
    assert!(uuid::Uuid::parse_str(CorrelationId::of(&HeaderMap::new()).as_str()).is_ok());
}

fn test_mode_is_one_address() {
    let is = |text: &str| is_test_mode(&text.parse().unwrap());
    assert!(is("http://localhost:9999"));
    assert!(is("http://localhost:9999/v2/internal/workers/ready"));
    for other in [
        "http://localhost:999",
        "http://localhost/",
        "http://127.0.0.1:9999/",
        "http://localhost.example:9999/",
        "http://example/localhost:9999",
        "http://localhost:9999@example/",
    ] {
        assert!(!is(other), "{other}");
    }
}
