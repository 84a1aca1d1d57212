//! Uploading modules and choosing which one serves a type.

use bytes::Bytes;
use http::{HeaderValue, Method, header};

use super::{
    address::{path, with_query},
    answer::Answer,
    error::ClientError,
    model::{Deployed, DeploymentHistory, ModuleInfo, ModuleList, Uploaded},
    transport::{Call, Client, UPLOAD_LIMIT},
};

impl Client {
    /// Uploads a module. The first for a type activates itself; `activate` says that any other should too.
    ///
    /// # Errors
    /// [`ClientError`]; a problem `module-refused` says what is wrong with the module.
    pub async fn upload(&self, module: Bytes, activate: bool) -> Result<Answer<Uploaded>, ClientError> {
        let activate = activate.then(|| "true".to_owned());
        let target = with_query(path(&["v1", "modules"]), &[("activate", activate)]);
        let mut call = Call::new(Method::POST, target, module);
        call.limit = UPLOAD_LIMIT;
        call.headers
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/wasm"));
        self.call(call).await?.read("the answer to an upload")
    }

    /// The modules that were uploaded.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn modules(&self) -> Result<Answer<ModuleList>, ClientError> {
        self.call(Call::get(path(&["v1", "modules"])))
            .await?
            .read("the list of modules")
    }

    /// One module, with its manifest.
    ///
    /// # Errors
    /// [`ClientError`]; a problem `unknown-module` when it was never uploaded.
    pub async fn module(&self, digest: &str) -> Result<Answer<ModuleInfo>, ClientError> {
        self.call(Call::get(path(&["v1", "modules", digest])))
            .await?
            .read("a module")
    }

    /// Makes a module the one that serves its type.
    ///
    /// # Errors
    /// [`ClientError`]; a problem `unknown-module` when it was never uploaded.
    pub async fn activate(
        &self,
        aggregate_type: &str,
        digest: &str,
    ) -> Result<Answer<Deployed>, ClientError> {
        let body = serde_json::json!({ "digest": digest });
        let mut call = Call::json(Method::PUT, path(&["v1", "deployments", aggregate_type]), &body)?;
        call.limit = UPLOAD_LIMIT;
        self.call(call).await?.read("the answer to an activation")
    }

    /// Which module is active for a type, and which were.
    ///
    /// # Errors
    /// [`ClientError`]; a problem `unknown-type` when none ever was.
    pub async fn deployment(&self, aggregate_type: &str) -> Result<Answer<DeploymentHistory>, ClientError> {
        self.call(Call::get(path(&["v1", "deployments", aggregate_type])))
            .await?
            .read("the deployments of a type")
    }
}

#[cfg(test)]
mod tests {
    use crate::client::fake::{FakeServer, Reply};

    #[tokio::test]
    async fn an_upload_is_sent_whole_and_its_answer_read() {
        let server = FakeServer::start(|_| {
            Reply::json(
                r#"{"digest":"ab","type":"account","module_version":"0.1.0","size_bytes":3,"uploaded_at":"t",
                "active":true,"activated":true,"notice":"nothing checks the history","manifest":{"x":1}}"#,
            )
        })
        .await;
        let answer = server.client().upload("\0as".into(), true).await.unwrap();
        assert_eq!(answer.value.notice.as_deref(), Some("nothing checks the history"));
        assert_eq!(answer.value.manifest.unwrap().get(), r#"{"x":1}"#);
        let request = server.requests().remove(0);
        assert_eq!(request.line, "POST /v1/modules?activate=true");
        assert_eq!(request.body, "\0as");
        assert_eq!(
            request.header("content-type"),
            Some("application/wasm".as_bytes())
        );
    }

    #[tokio::test]
    async fn an_activation_names_the_digest() {
        let server = FakeServer::start(|_| {
            Reply::json(r#"{"type":"account","digest":"ab","previous":null,"deployed_at":"t","notice":null}"#)
        })
        .await;
        let answer = server.client().activate("account", "ab").await.unwrap();
        assert_eq!(
            (answer.value.digest.as_str(), answer.value.previous),
            ("ab", None)
        );
        let request = server.requests().remove(0);
        assert_eq!(request.line, "PUT /v1/deployments/account");
        assert_eq!(request.body, r#"{"digest":"ab"}"#);
    }
}
