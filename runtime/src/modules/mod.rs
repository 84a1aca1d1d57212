//! Modules: uploaded once, kept for ever under their digest; which of them serves a type is an event in the log.

mod deployments;
mod registry;

pub use deployments::{DEPLOYMENT_TYPE, Deployment};
pub use registry::{ActivateError, ActiveModule, Modules, UploadRefused, Uploaded};
