//! Why an upload is refused.

/// An upload that is not a module of this contract: what was found, what was expected, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UploadError {
    /// Nothing was sent.
    #[error("the upload is empty; send the bytes of a WebAssembly component or core module")]
    Empty,
    /// More bytes than allowed.
    #[error(
        "the upload has {found} bytes; the limit is {limit}. Build it optimised for size and strip its debug \
         information (for Rust: `strip = true` and `opt-level = \"s\"` in the release profile)"
    )]
    TooLarge {
        /// Bytes of the upload.
        found: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Text.
    #[error("the upload is text, beginning with `{beginning}`, not WebAssembly. {fix}")]
    Text {
        /// Its first characters.
        beginning: String,
        /// What to do.
        fix: &'static str,
    },
    /// Some other kind of file.
    #[error(
        "the upload is not WebAssembly: it begins with the bytes `{beginning}`{looks_like}, a module begins with \
         `00 61 73 6d`. Send the `.wasm` file itself"
    )]
    NotWasm {
        /// Its first bytes, in hexadecimal.
        beginning: String,
        /// A guess what it is, in words, or nothing.
        looks_like: &'static str,
    },
    /// WebAssembly of a version that does not exist yet.
    #[error(
        "the upload is WebAssembly of an unknown version (bytes 4 to 8 are `{found}`); expected `01 00 00 00` for a \
         core module or `0d 00 01 00` for a component. Build it with released tools"
    )]
    UnknownVersion {
        /// The four bytes, in hexadecimal.
        found: String,
    },
    /// Machine code.
    #[error(
        "the upload is code that wasmtime compiled in advance (`.cwasm`), which is never accepted: it could do \
         anything. Send the component that it was made of"
    )]
    Precompiled,
    /// Bytes that end early or make no sense.
    #[error(
        "the upload is damaged{} at byte {offset} of {bytes}: {problem}. Build it again, and compare the file's \
         size with what was sent",
        if *truncated { " or cut off" } else { "" }
    )]
    Damaged {
        /// Where.
        offset: usize,
        /// Bytes of the upload.
        bytes: usize,
        /// Whether it ends before it should.
        truncated: bool,
        /// What is wrong there.
        problem: String,
    },
    /// A structure that would cost too much to compile.
    #[error(
        "the module is too complex to compile safely: {found} {what}; the limit is {limit} for a module of this \
         size. Build it optimised, with fewer dependencies, or split what it does"
    )]
    TooComplex {
        /// What there is too much of.
        what: &'static str,
        /// How many were found, at least.
        found: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// A core module that does not say what its functions mean.
    #[error(
        "the upload is a core module without a `component-type` section, so what its exports mean is unknown. Build \
         it with `annals build` or with a binding generator for the world `annals:aggregate/aggregate-module@0.1.0`, \
         or add the section with `wasm-tools component embed wit --world aggregate-module`"
    )]
    NoContract,
    /// It wants an operating system.
    #[error(
        "the module imports `{import}`: modules have no WASI, neither files nor clock nor randomness, so that a state \
         can always be computed again from its events. {fix}"
    )]
    Wasi {
        /// The import.
        import: String,
        /// What to do.
        fix: &'static str,
    },
    /// It imports what nobody offers.
    #[error(
        "the module imports `{import}`, which does not exist here: only `{offered}` does{nearest}. {fix}"
    )]
    UnknownImport {
        /// The import.
        import: String,
        /// What may be imported.
        offered: String,
        /// The nearest name that exists, in words, or nothing.
        nearest: String,
        /// What to do.
        fix: &'static str,
    },
    /// It lacks what every module must have.
    #[error(
        "the module does not export `{missing}`; it exports {exports}{nearest}. Every module must export \
         `annals:aggregate/manifest@0.1.0` and `annals:aggregate/aggregate@0.1.0` (the world \
         `annals:aggregate/minimal-module@0.1.0`); with the Rust SDK, `export_aggregate!` does it"
    )]
    MissingExport {
        /// The first missing interface.
        missing: String,
        /// What there is, in words.
        exports: String,
        /// The nearest name that it does export, in words, or nothing.
        nearest: String,
    },
    /// It was built for something else.
    #[error(
        "the module was built for another world: it exports {exports}, and nothing of `annals:aggregate@0.1.0`. \
         Build it for the world `annals:aggregate/aggregate-module@0.1.0`"
    )]
    AnotherWorld {
        /// What there is, in words.
        exports: String,
    },
    /// It was built for another version of the contract.
    #[error(
        "the module was built for `{found}`; this server speaks `{expected}`. Build it with an SDK of the server's \
         version, or run a server of the module's"
    )]
    AnotherVersion {
        /// The interface as the module names it.
        found: String,
        /// The interface as this server names it.
        expected: String,
    },
    /// Right names with wrong types.
    #[error(
        "the module's types do not match the contract: {problem}. Generate its bindings again from the server's \
         `wit/` folder"
    )]
    WrongTypes {
        /// The first difference.
        problem: String,
    },
    /// A core module that cannot be made a component.
    #[error("the core module cannot be made a component: {problem}. Build it with `annals build`")]
    NotComposable {
        /// What the encoder said.
        problem: String,
    },
    /// The host itself failed.
    #[error("the upload made the inspection fail, which is a defect of this server: {what}")]
    Host {
        /// What happened.
        what: String,
    },
}

impl UploadError {
    /// A stable name for programs, logs and metrics.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::TooLarge { .. } => "too-large",
            Self::Text { .. } => "text",
            Self::NotWasm { .. } => "not-wasm",
            Self::UnknownVersion { .. } => "unknown-wasm-version",
            Self::Precompiled => "precompiled",
            Self::Damaged { .. } => "damaged",
            Self::TooComplex { .. } => "too-complex",
            Self::NoContract => "no-contract",
            Self::Wasi { .. } => "wasi",
            Self::UnknownImport { .. } => "unknown-import",
            Self::MissingExport { .. } => "missing-export",
            Self::AnotherWorld { .. } => "another-world",
            Self::AnotherVersion { .. } => "another-version",
            Self::WrongTypes { .. } => "wrong-types",
            Self::NotComposable { .. } => "not-composable",
            Self::Host { .. } => "host",
        }
    }

    pub(super) fn damaged(bytes: usize, error: &wasmparser::BinaryReaderError) -> Self {
        let problem = error.message().to_owned();
        Self::Damaged {
            offset: error.offset(),
            bytes,
            truncated: problem.contains("unexpected end"),
            problem,
        }
    }
}
