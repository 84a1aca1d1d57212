//! What is refused at upload, and with which words; and what is not.

use super::*;

fn refusal(upload: &[u8]) -> UploadError {
    host_with(limits()).inspect(upload).unwrap_err()
}

fn parse(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

/// Code, and words that the message must contain.
fn check(upload: &[u8], code: &str, words: &[&str]) {
    let error = refusal(upload);
    let message = error.to_string();
    assert_eq!(error.code(), code, "{message}");
    for word in words {
        assert!(message.contains(word), "`{word}` is not in: {message}");
    }
}

#[test]
fn what_is_not_wasm_is_named() {
    check(b"", "empty", &["the upload is empty"]);
    check(b"hello", "text", &["`hello`", "--data-binary"]);
    check(b"(module)", "text", &["wasm-tools parse"]);
    check(b"<html>", "text", &["web page"]);
    check(b"\x1f\x8b\x08\0", "not-wasm", &["1f 8b 08 00", "gzip"]);
    check(b"\x7fELF\x02\x01\x01\0rest", "not-wasm", &["native machine code"]);
    check(b"\xde\xad\xbe\xef", "not-wasm", &["de ad be ef", "00 61 73 6d"]);
    check(b"\0asm", "damaged", &["cut off"]);
    check(b"\0asm\x02\0\0\0", "unknown-wasm-version", &["02 00 00 00"]);
}

#[test]
fn every_prefix_of_a_module_is_refused_without_panicking() {
    let whole = guests::counter();
    for end in (0..whole.len()).step_by(97) {
        let error = refusal(&whole[..end]);
        assert_ne!(error.code(), "host", "{end}: {error}");
    }
    check(
        &whole[..whole.len() / 2],
        "damaged",
        &["cut off", &format!("of {}", whole.len() / 2)],
    );
}

/// The two named positions, of all single bits, made the encoder panic.
#[test]
fn flipped_bits_never_panic() {
    let whole = guests::counter();
    let host = host_with(limits());
    let sampled = (0..whole.len())
        .step_by(13)
        .map(|position| (position, position % 8));
    for (position, bit) in sampled.chain([(5_617, 4), (5_655, 4)]) {
        let mut damaged = whole.clone();
        damaged[position] ^= 1 << bit;
        if let Err(error) = host.inspect(&damaged) {
            assert_ne!(error.code(), "host", "{position}: {error}");
        }
    }
}

#[test]
fn machine_code_is_never_accepted() {
    let host = host_with(limits());
    let component = host.inspect(&guests::counter()).unwrap().component;
    let compiled = host.engine().precompile_component(&component).unwrap();
    check(&compiled, "precompiled", &[".cwasm", "never accepted"]);
}

#[test]
fn uploads_over_the_limit_are_refused_before_anything_else() {
    let host = host_with(Limits {
        module_bytes: 10,
        ..limits()
    });
    let error = host.inspect(&[0; 11]).unwrap_err();
    assert_eq!(error, UploadError::TooLarge { found: 11, limit: 10 });
}

#[test]
fn core_modules_must_say_what_they_mean_and_want_no_system() {
    check(
        &parse("(module)"),
        "no-contract",
        &["component-type", "annals build"],
    );
    let wasi = "(module (import \"wasi_snapshot_preview1\" \"fd_write\" (func (param i32))))";
    check(
        &parse(wasi),
        "wasi",
        &["wasi_snapshot_preview1::fd_write", "wasm32-unknown-unknown"],
    );
    let env = "(module (import \"env\" \"malloc\" (func (param i32))))";
    check(
        &parse(env),
        "unknown-import",
        &["env::malloc", "annals:aggregate/log@0.1.0", "not linked"],
    );
    let upload = guests::counter_with(&[(
        "import",
        "(import \"annals:aggregate/logs@0.1.0\" \"write\" (func))",
    )]);
    check(&upload, "not-composable", &["annals:aggregate/logs@0.1.0"]);
}

#[test]
fn components_of_another_world_are_told_what_they_are() {
    check(
        &parse("(component)"),
        "missing-export",
        &["annals:aggregate/manifest@0.1.0", "it exports nothing"],
    );
    let other = "(component (instance $i) (export \"example:greeter/greet@1.0.0\" (instance $i)))";
    check(
        &parse(other),
        "another-world",
        &["`example:greeter/greet@1.0.0`", "aggregate-module@0.1.0"],
    );
    let version = "(component (instance $i) (export \"annals:aggregate/manifest@0.2.0\" (instance $i)))";
    check(
        &parse(version),
        "another-version",
        &[
            "annals:aggregate/manifest@0.2.0",
            "annals:aggregate/manifest@0.1.0",
        ],
    );
    let near = "(component (instance $i) (export \"annals:aggregate/manifests@0.1.0\" (instance $i)))";
    check(
        &parse(near),
        "missing-export",
        &["nearest name is `annals:aggregate/manifests@0.1.0`"],
    );
    let wasi = "(component (import \"wasi:filesystem/types@0.2.6\" (instance (export \"f\" (func)))))";
    check(
        &parse(wasi),
        "wasi",
        &["wasi:filesystem/types@0.2.6", "--stub-wasi"],
    );
    let import = "(component (import \"annals:aggregate/clock@0.1.0\" (instance (export \"f\" (func)))))";
    check(
        &parse(import),
        "unknown-import",
        &["annals:aggregate/clock@0.1.0", "annals:aggregate/log@0.1.0"],
    );
    let types = "(component
        (instance $i)
        (export \"annals:aggregate/manifest@0.1.0\" (instance $i))
        (export \"annals:aggregate/aggregate@0.1.0\" (instance $i)))";
    check(&parse(types), "wrong-types", &["wit/"]);
}

#[test]
fn an_optional_interface_of_the_wrong_shape_is_refused() {
    let host = host_with(limits());
    let mut component = host.inspect(&guests::counter()).unwrap().component;
    assert_eq!(component[..4], *b"\0asm");
    // An export of the right name with nothing in it, appended to an otherwise good component.
    component.extend_from_slice(
        &parse("(component (instance $i) (export \"annals:aggregate/upcasting@0.1.0\" (instance $i)))")[8..],
    );
    let error = host.inspect(&component).unwrap_err();
    assert!(
        matches!(
            error,
            UploadError::WrongTypes { .. } | UploadError::Damaged { .. }
        ),
        "{error}"
    );
}

#[test]
fn shapes_that_are_dear_to_compile_are_refused() {
    let many = format!("(module {})", "(func)".repeat(20_001));
    check(&parse(&many), "too-complex", &["20001 functions", "20000"]);
    let long = format!("(module (func {}))", "i32.const 1 drop ".repeat(90_000));
    check(&parse(&long), "too-complex", &["bytes in one function", "262144"]);
    let locals = format!("(module (func (local {})))", "i32 ".repeat(5_001));
    check(&parse(&locals), "too-complex", &["5001 local variables"]);
    check(
        &parse("(module (memory 1025))"),
        "too-complex",
        &["bytes of memory at the start", "67108864"],
    );
    check(
        &parse("(module (table 20001 funcref))"),
        "too-complex",
        &["elements in one table"],
    );
    check(
        &parse("(module (memory 1) (memory 1))"),
        "too-complex",
        &["2 memories"],
    );
    let nested = format!("(component {})", "(core module)".repeat(9));
    check(&parse(&nested), "too-complex", &["9 core modules"]);
}

/// The tools that read types recurse without a limit of their own, and a used-up stack would end the process.
#[test]
fn types_nested_without_end_are_refused() {
    let mut types = vec![1];
    types.extend([0x41, 1, 0x01].repeat(500_000));
    let mut component = b"\0asm\x0d\0\x01\0\x07".to_vec();
    component.extend(leb128(types.len()));
    component.extend(types);
    check(&component, "too-complex", &["levels of types in types", "32"]);

    let name = b"component-type";
    let mut core = b"\0asm\x01\0\0\0\0".to_vec();
    core.extend(leb128(component.len() + name.len() + 1));
    core.push(14);
    core.extend(name);
    core.extend(component);
    check(&core, "too-complex", &["levels of types in types", "32"]);
}

fn leb128(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// JavaScript and Python guests bring their runtime: what is too complex in a small module passes in a large one.
#[test]
fn large_modules_have_larger_limits() {
    let functions = "(func)".repeat(20_001);
    let padding = "x".repeat(5 << 20);
    let text = format!("{functions}\n(@custom \"padding\" \"{padding}\")");
    let host = host_with(limits());
    let inspected = host.inspect(&guests::counter_with(&[("start", &text)])).unwrap();
    assert_eq!(inspected.class, Class::Large);
    let limits = limits();
    assert_eq!(
        Class::Large.memory_bytes(&limits),
        4 * Class::Small.memory_bytes(&limits)
    );
}

#[test]
fn extra_exports_are_tolerated_and_components_taken_as_they_are() {
    let host = host_with(limits());
    let inspected = host.inspect(&guests::counter()).unwrap();
    let again = host.inspect(&inspected.component).unwrap();
    assert_eq!(again.component, inspected.component);
    assert_ne!(again.digest, inspected.digest);
    assert_eq!(
        load(&host, &inspected.component)
            .manifest()
            .aggregate_type
            .as_str(),
        "counter"
    );
}

#[test]
fn manifests_that_contradict_themselves_are_refused() {
    let host = host_with(limits());
    let cases = [
        ("(data (i32.const 1600) \"Counter\")", "aggregate type `Counter`"),
        ("(data (i32.const 1600) \"annals-\")", "the server's own"),
        ("(data (i32.const 1616) \"1.x.0\")", "`module-version` is `1.x.0`"),
        ("(data (i32.const 1632) \"application-json\")", "not a media type"),
        ("(data (i32.const 1040) \"add:x\")", "command name `add:x`"),
        (
            "(data (i32.const 960) \"[\\\"type\\\":\\\"object\\\"]\")",
            "the JSON Schema of the command `add`",
        ),
        (
            "(data (i32.const 2048) (i32 1040))(data (i32.const 2052) (i32 5))",
            "the command `close` is listed twice",
        ),
        ("(data (i32.const 2568) (i32 0))", "schema version 0"),
        ("(data (i32.const 2568) (i32 2))", "`reads` does not"),
        ("(data (i32.const 2696) (i32 2))", "`reads` does not"),
    ];
    for (data, words) in cases {
        let inspected = host.inspect(&guests::counter_with(&[("data", data)])).unwrap();
        let error = host.load(&inspected).unwrap_err();
        assert_eq!(error.code(), "bad-manifest", "{data}: {error}");
        assert!(error.to_string().contains(words), "`{words}` is not in: {error}");
    }
    let unstable = "(i32.store (i32.const 2864) (i32.add (i32.load (i32.const 2864)) (i32.const 1)))";
    let inspected = host
        .inspect(&guests::counter_with(&[("describe", unstable)]))
        .unwrap();
    let error = host.load(&inspected).unwrap_err();
    assert_eq!(error, LoadError::Manifest(ManifestProblem::Unstable));
}
