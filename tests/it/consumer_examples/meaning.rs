//! What the examples make of single events, also of those that another module may have written.

use std::process::Command;

use serde_json::{Value, json};

use super::program::{Interpreter, NODE, PYTHON};

/// Prints what each event does to a balance, or why it cannot be handled, as JSON.
const PYTHON_SCRIPT: &str = "
import json, sys
sys.path.insert(0, sys.argv[1])
from service import Poison, change_of
def meaning(event):
    try:
        return change_of(event)
    except Poison as why:
        return str(why)
print(json.dumps([meaning(event) for event in json.loads(sys.argv[2])]))
";
const NODE_SCRIPT: &str = "
const { Poison, changeOf } = await import(`${process.argv[1]}/service.mjs`);
const meaning = (event) => {
  try {
    return changeOf(event);
  } catch (why) {
    if (!(why instanceof Poison)) throw why;
    return why.message;
  }
};
console.log(JSON.stringify(JSON.parse(process.argv[2]).map(meaning)));
";

#[test]
fn an_event_whose_data_is_something_else_is_poison_and_ends_no_process() {
    let none = "it has no amount in cents";
    let cases = [
        (json!({ "type": "deposited", "data": { "amount": 7 } }), json!(7)),
        (json!({ "type": "withdrawn", "data": { "amount": 7 } }), json!(-7)),
        (json!({ "type": "opened", "data": { "owner": "x" } }), json!(0)),
        (json!({ "type": "closed", "data": null }), json!(0)),
        (json!({ "type": "closed" }), json!(0)),
        // Data that is not JSON comes in another member.
        (json!({ "type": "deposited", "data_base64": "AAA=" }), json!(none)),
        (json!({ "type": "withdrawn" }), json!(none)),
        (json!({ "type": "deposited", "data": null }), json!(none)),
        (json!({ "type": "deposited", "data": [7] }), json!(none)),
        (json!({ "type": "deposited", "data": "amount" }), json!(none)),
        (
            json!({ "type": "deposited", "data": { "amount": "7" } }),
            json!(none),
        ),
        (
            json!({ "type": "deposited", "data": { "amount": 0.5 } }),
            json!(none),
        ),
        (
            json!({ "type": "deposited", "data": { "amount": true } }),
            json!(none),
        ),
        (
            json!({ "type": "renamed", "data": {} }),
            json!("nobody has said what `renamed` does to a balance"),
        ),
    ];
    let (events, expected): (Vec<Value>, Vec<Value>) = cases.into_iter().unzip();
    for (interpreter, arguments) in [
        (PYTHON, &["-c", PYTHON_SCRIPT][..]),
        (NODE, &["--input-type=module", "-e", NODE_SCRIPT]),
    ] {
        if interpreter.is_there() {
            assert_eq!(meanings(&interpreter, arguments, &events), expected);
        }
    }
}

fn meanings(interpreter: &Interpreter, arguments: &[&str], events: &[Value]) -> Vec<Value> {
    let output = Command::new(interpreter.program)
        .args(arguments)
        .arg(interpreter.folder())
        .arg(json!(events).to_string())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}
