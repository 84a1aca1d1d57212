//! What an author is told at compile time. `TRYBUILD=overwrite cargo test -p annals-sdk --test ui` writes the expected
//! messages anew.

#[test]
fn mistakes_are_explained() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/accepted.rs");
    cases.compile_fail("tests/ui/bad_*.rs");
}
