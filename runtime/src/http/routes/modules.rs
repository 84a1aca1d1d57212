//! Uploading modules, listing them, and letting one serve its type.

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    modules::Modules,
    store::StoredModule,
    vocabulary::{DigestBeginning, Manifest, ModuleDigest},
};

use super::super::{
    app::{App, Running},
    cloudevent::{raw_json, rfc3339},
    extract::{NoParameters, Path, Query, read_body},
    json_body::JsonBody,
    media_type::{check_content_type, negotiate},
    problem::{Problem, unknown_module, unknown_type},
};

/// Activations of a type that are listed, newest first, count: an operator reads them.
const DEPLOYMENTS_MAX: usize = 1_000;
const ACTIVATION: JsonBody = JsonBody {
    what: "the activation",
    limit: 4_096,
    example: "{\"digest\": \"…\"}",
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UploadQuery {
    activate: Option<bool>,
}

/// `POST /v1/modules`. The upload runs to its end even when the client goes away.
pub(super) async fn upload(
    State(app): State<App>,
    running: Running,
    Query(query): Query<UploadQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    negotiate(&headers, &["application/json"])?;
    check_content_type(&headers, &["application/wasm", "application/octet-stream"])?;
    let place = app.upload().await?;
    let bytes = read_body(&app, body, "the module", app.limits().module_bytes).await?;
    let modules = running.modules.clone();
    let activate = query.activate.unwrap_or(false);
    let uploaded = super::blocking(move || {
        let _place = place;
        modules.upload(&bytes, activate)
    })
    .await??;
    let mut document = summary(&running.modules, &uploaded.module);
    if let Value::Object(members) = &mut document {
        members.insert("activated".into(), uploaded.activated.into());
        members.insert("notice".into(), uploaded.notice.into());
        members.insert("manifest".into(), manifest(&uploaded.module.manifest));
    }
    let status = if uploaded.new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((status, super::json(&document)).into_response())
}

/// `GET /v1/modules`
pub(super) async fn all(
    running: Running,
    Query(NoParameters {}): Query<NoParameters>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    negotiate(&headers, &["application/json"])?;
    let modules = running.modules.clone();
    let kept = super::blocking(move || modules.all()).await??;
    let kept: Vec<Value> = kept
        .iter()
        .map(|module| summary(&running.modules, module))
        .collect();
    Ok(super::json(&json!({ "modules": kept })))
}

/// `GET /v1/modules/{digest}`
pub(super) async fn one(
    running: Running,
    path: Path,
    Query(NoParameters {}): Query<NoParameters>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    negotiate(&headers, &["application/json"])?;
    let beginning: DigestBeginning = path.parse("digest")?;
    let (modules, asked) = (running.modules.clone(), beginning.clone());
    let found = super::blocking(move || modules.find(&asked)).await??;
    let module = match found.as_slice() {
        [module] => module,
        [] => {
            return Err(unknown_module(format!(
                "no module whose digest begins with `{beginning}` has been uploaded"
            )));
        }
        several => {
            let digests: Vec<_> = several.iter().map(|module| module.digest.to_string()).collect();
            let detail = format!("several digests begin with `{beginning}`: {}", digests.join(", "));
            return Err(Problem::malformed(detail, "send more digits"));
        }
    };
    let mut document = summary(&running.modules, module);
    if let Value::Object(members) = &mut document {
        members.insert("manifest".into(), manifest(&module.manifest));
    }
    Ok(super::json(&document))
}

fn summary(modules: &Modules, module: &StoredModule) -> Value {
    let aggregate_type = &module.manifest.aggregate_type;
    json!({
        "digest": module.digest.to_string(),
        "type": aggregate_type.as_str(),
        "module_version": module.manifest.module_version,
        "size_bytes": module.size_bytes,
        "uploaded_at": rfc3339(module.uploaded_at),
        "active": modules.is_active(aggregate_type, &module.digest),
    })
}

/// The manifest as JSON, with its schemas as JSON too.
fn manifest(manifest: &Manifest) -> Value {
    let commands: Vec<Value> = manifest
        .commands
        .iter()
        .map(|command| json!({ "name": command.name.as_str(), "schema": raw_json(command.json_schema.as_bytes()) }))
        .collect();
    let records: Vec<Value> = manifest
        .records
        .iter()
        .map(|event| {
            json!({
                "type": event.event_type.as_str(),
                "schema_version": event.schema,
                "schema": raw_json(event.json_schema.as_bytes()),
            })
        })
        .collect();
    let reads: Vec<Value> = manifest
        .reads
        .iter()
        .map(|(event_type, schema)| json!({ "type": event_type.as_str(), "schema_version": schema }))
        .collect();
    let attributes: serde_json::Map<String, Value> = manifest
        .attributes
        .iter()
        .map(|(name, value)| (name.clone(), value.clone().into()))
        .collect();
    json!({
        "type": manifest.aggregate_type.as_str(),
        "module_version": manifest.module_version,
        "payload_encoding": manifest.payload_encoding,
        "commands": commands,
        "records": records,
        "reads": reads,
        "state_version": manifest.state_version,
        "attributes": attributes,
    })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Activation {
    digest: String,
}

/// `PUT /v1/deployments/{type}`
pub(super) async fn activate(
    State(app): State<App>,
    running: Running,
    path: Path,
    Query(NoParameters {}): Query<NoParameters>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let aggregate_type = path.aggregate_type()?;
    let activation: Activation = ACTIVATION.read(&app, &headers, body).await?;
    let digest: ModuleDigest = activation.digest.parse()?;
    let (modules, asked) = (running.modules.clone(), aggregate_type.clone());
    let (deployment, previous, notice) = super::blocking(move || modules.activate(&asked, &digest)).await??;
    Ok(super::json(&json!({
        "type": aggregate_type.as_str(),
        "digest": deployment.digest.to_string(),
        "previous": previous.map(|digest| digest.to_string()),
        "deployed_at": rfc3339(deployment.deployed_at),
        "notice": notice,
    })))
}

/// `GET /v1/deployments/{type}`
pub(super) async fn deployments(
    running: Running,
    path: Path,
    Query(NoParameters {}): Query<NoParameters>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let aggregate_type = path.aggregate_type()?;
    negotiate(&headers, &["application/json"])?;
    let (modules, asked) = (running.modules.clone(), aggregate_type.clone());
    let history = super::blocking(move || modules.deployments(&asked, DEPLOYMENTS_MAX)).await??;
    let Some(newest) = history.first() else {
        return Err(unknown_type(aggregate_type.as_str()));
    };
    let activations: Vec<Value> = history
        .iter()
        .map(|deployment| {
            json!({
                "digest": deployment.digest.to_string(),
                "deployed_at": rfc3339(deployment.deployed_at),
                "version": deployment.version.0,
            })
        })
        .collect();
    Ok(super::json(&json!({
        "type": aggregate_type.as_str(),
        "active": newest.digest.to_string(),
        "history": activations,
    })))
}
