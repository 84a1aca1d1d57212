//! The description of the interface (OpenAPI 3.1): the fixed paths from `openapi.json` beside this file, and a path per
//! command of every active module with its schema.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::{modules::ActiveModule, vocabulary::AggregateType};

const FIXED: &str = include_str!("openapi.json");

/// The document for the modules that are active now.
pub(super) fn document(active: &BTreeMap<AggregateType, ActiveModule>) -> Value {
    // The text is ours and is parsed by a test.
    let mut document: Value = serde_json::from_str(FIXED).unwrap_or_default();
    set(&mut document, "/info/version", env!("CARGO_PKG_VERSION").into());
    let send = document
        .pointer("/paths/~1v1~1aggregates~1{type}~1{id}~1commands~1{command}/post")
        .cloned();
    for (aggregate_type, active) in active {
        let manifest = active.module.manifest();
        for command in &manifest.commands {
            let name = command.name.as_str();
            let schema = schema(
                &command.json_schema,
                &format!("urn:annals:schema:{aggregate_type}:command:{name}"),
            );
            let path = format!("/v1/aggregates/{aggregate_type}/{{id}}/commands/{name}");
            let operation = operation(
                send.clone().unwrap_or_default(),
                aggregate_type,
                name,
                &manifest.payload_encoding,
                schema,
            );
            insert(&mut document, "/paths", path, json!({ "post": operation }));
        }
        for event in &manifest.records {
            let id = format!(
                "urn:annals:schema:{aggregate_type}:{}:{}",
                event.event_type, event.schema
            );
            let name = format!("{aggregate_type}.{}.{}", event.event_type, event.schema);
            insert(
                &mut document,
                "/components/schemas",
                name,
                schema(&event.json_schema, &id),
            );
        }
    }
    document
}

/// A module's schema, with an `$id` so that its own `#/$defs/…` references stay its own.
fn schema(text: &str, id: &str) -> Value {
    let mut schema: Value = serde_json::from_str(text).unwrap_or(Value::Bool(true));
    if let Value::Object(members) = &mut schema {
        members.insert("$id".into(), id.into());
    }
    schema
}

/// The general operation of sending a command, made particular.
fn operation(
    mut send: Value,
    aggregate_type: &AggregateType,
    command: &str,
    encoding: &str,
    schema: Value,
) -> Value {
    set(
        &mut send,
        "/summary",
        format!("Send `{command}` to a `{aggregate_type}`").into(),
    );
    set(
        &mut send,
        "/operationId",
        format!("{aggregate_type}.{command}").into(),
    );
    if let Some(Value::Array(parameters)) = send.pointer_mut("/parameters") {
        let is_general = |parameter: &Value| {
            parameter.get("$ref") == Some(&Value::from("#/components/parameters/type"))
                || parameter.get("name") == Some(&Value::from("command"))
        };
        parameters.retain(|parameter| !is_general(parameter));
    }
    let mut content = Map::new();
    content.insert(encoding.to_owned(), json!({ "schema": schema }));
    set(&mut send, "/requestBody/content", Value::Object(content));
    send
}

fn set(document: &mut Value, pointer: &str, value: Value) {
    if let Some(place) = document.pointer_mut(pointer) {
        *place = value;
    }
}

fn insert(document: &mut Value, pointer: &str, name: String, value: Value) {
    if let Some(Value::Object(members)) = document.pointer_mut(pointer) {
        members.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::routes::PATHS;

    #[test]
    fn every_path_is_described_and_nothing_else() {
        let document = document(&BTreeMap::new());
        assert_eq!(document["openapi"], "3.1.0");
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
        let described: BTreeMap<&str, Vec<&str>> = document["paths"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(path, methods)| {
                (
                    path.as_str(),
                    methods.as_object().unwrap().keys().map(String::as_str).collect(),
                )
            })
            .collect();
        let served: BTreeMap<&str, Vec<&str>> = PATHS
            .iter()
            .map(|(path, methods)| (*path, methods.to_vec()))
            .collect();
        assert_eq!(described, served);
    }

    #[test]
    fn references_lead_somewhere() {
        fn check(value: &Value, document: &Value) {
            match value {
                Value::Object(members) => {
                    if let Some(Value::String(reference)) = members.get("$ref") {
                        let pointer = reference.strip_prefix('#').unwrap();
                        assert!(document.pointer(pointer).is_some(), "{reference}");
                    }
                    members.values().for_each(|value| check(value, document));
                }
                Value::Array(values) => values.iter().for_each(|value| check(value, document)),
                _ => {}
            }
        }
        let document = document(&BTreeMap::new());
        check(&document, &document);
    }
}
