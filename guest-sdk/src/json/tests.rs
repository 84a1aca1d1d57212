//! What callers are told about payloads that do not decode. The words come from serde's messages, taken apart; these
//! tests notice when a new version says them differently.

use serde::Deserialize;

use super::*;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read by serde only")]
struct Order {
    owner: String,
    #[serde(default)]
    amount: u64,
    #[serde(default)]
    items: Vec<Item>,
    #[serde(default)]
    note: Option<i8>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read by serde only")]
struct Item {
    sku: String,
}

#[track_caller]
fn check(payload: &str, pointer: &str, problem: &str) {
    let found = decode_object::<Order>(payload.as_bytes()).expect_err("it decoded");
    assert_eq!(
        (found.pointer.as_str(), found.problem.as_str()),
        (pointer, problem)
    );
}

#[test]
fn a_wrong_type_is_named_with_its_place() {
    check(
        r#"{"owner":"a","amount":"ten"}"#,
        "/amount",
        r#"expected a whole number from 0 to 18446744073709551615, found string "ten""#,
    );
    check(r#"{"owner":7}"#, "/owner", "expected a string, found integer `7`");
    check(r#"{"owner":null}"#, "/owner", "expected a string, found null");
    check(
        r#"{"owner":"a","items":{}}"#,
        "/items",
        "expected an array, found map",
    );
    check(
        r#"{"owner":"a","items":[{"sku":"x"},{"sku":"y"},{"sku":5}]}"#,
        "/items/2/sku",
        "expected a string, found integer `5`",
    );
}

#[test]
fn a_number_out_of_range_is_told_the_range() {
    check(
        r#"{"owner":"a","amount":-5}"#,
        "/amount",
        "expected a whole number from 0 to 18446744073709551615, found integer `-5`",
    );
    check(
        r#"{"owner":"a","amount":1.5}"#,
        "/amount",
        "expected a whole number from 0 to 18446744073709551615, found floating point `1.5`",
    );
    check(
        r#"{"owner":"a","note":200}"#,
        "/note",
        "expected a whole number from -128 to 127, found integer `200`",
    );
}

#[test]
fn an_unknown_field_is_told_the_nearest() {
    check(
        r#"{"owner":"a","amuont":5}"#,
        "/amuont",
        "unknown field: did you mean `amount`? The fields are `owner`, `amount`, `items`, `note`",
    );
    check(
        r#"{"owner":"a","zzzzzzzz":5}"#,
        "/zzzzzzzz",
        "unknown field: the fields are `owner`, `amount`, `items`, `note`",
    );
    check(
        r#"{"owner":"a","items":[{"sku":"x","skuu":"y"}]}"#,
        "/items/0/skuu",
        "unknown field: did you mean `sku`? The fields are `sku`",
    );
}

#[test]
fn missing_and_repeated_fields_are_named() {
    check("", "/owner", "required, and not there");
    check("{}", "/owner", "required, and not there");
    check(
        r#"{"owner":"a","items":[{}]}"#,
        "/items/0/sku",
        "required, and not there",
    );
    check(r#"{"owner":"a","owner":"b"}"#, "/owner", "given twice");
}

#[test]
fn what_is_no_object_or_no_json_is_said_to_be_so() {
    check("[]", "", "expected a JSON object, found an array");
    check(" \"x\"", "", "expected a JSON object, found a string");
    check("null", "", "expected a JSON object, found null");
    check("-1", "", "expected a JSON object, found a number");
    check("hello", "", "expected a JSON object, found text that is not JSON");
    check(
        r#"{"owner":"a""#,
        "",
        "not JSON: EOF while parsing an object at line 1 column 12",
    );
    check(
        r#"{"owner":"a"} x"#,
        "",
        "not JSON: trailing characters at line 1 column 15",
    );
    check(
        "{\"owner\":\"\u{1}\"}",
        "",
        "not JSON: control character (\\u0000-\\u001F) found while parsing a string at line 1 column 11",
    );
}

#[test]
fn invalid_utf8_is_refused() {
    let found = decode_object::<Order>(b"{\"owner\":\"\xff\"}").expect_err("it decoded");
    assert_eq!(
        found.problem,
        "not JSON: invalid unicode code point at line 1 column 11"
    );
}

#[test]
fn pointers_are_escaped() {
    check(
        r#"{"owner":"a","a/b~c":1}"#,
        "/a~1b~0c",
        "unknown field: the fields are `owner`, `amount`, `items`, `note`",
    );
}

#[test]
fn a_long_value_is_not_echoed_whole() {
    let payload = format!(r#"{{"owner":"a","amount":"{}"}}"#, "é".repeat(10_000));
    let found = decode_object::<Order>(payload.as_bytes()).expect_err("it decoded");
    assert!(
        found.problem.len() <= PROBLEM_LENGTH_MAX + 3,
        "{} bytes",
        found.problem.len()
    );
}

#[test]
fn the_nearest_name_must_be_near() {
    assert_eq!(nearest("deposti", &["deposit", "withdraw"]), Some("deposit"));
    assert_eq!(nearest("x", &["deposit", "withdraw"]), None);
}
