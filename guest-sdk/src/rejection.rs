//! Rejections: the domain's "no".

/// The reasons for which an aggregate type says no. Derive it: `#[derive(Rejection)]` on an enum.
///
/// A rejection is an answer, not an error of the machine: the caller gets its code, its message, and its fields as
/// details, and no retry will change it. The code is the variant in kebab-case unless
/// `#[rejection("…", code = "…")]` says otherwise. The message is a format string over the fields.
///
/// ```
/// use annals_sdk::prelude::*;
///
/// #[derive(Rejection)]
/// enum AccountRejection {
///     #[rejection("the account is not open")]
///     NotOpen,
///     #[rejection("balance {balance} is less than {requested}", code = "insufficient-funds")]
///     TooPoor { balance: u64, requested: u64 },
/// }
///
/// let rejection = AccountRejection::TooPoor { balance: 10, requested: 11 };
/// assert_eq!(rejection.code(), "insufficient-funds");
/// assert_eq!(rejection.message(), "balance 10 is less than 11");
/// assert_eq!(rejection.details(), Some(br#"{"balance":10,"requested":11}"#.to_vec()));
/// assert_eq!(AccountRejection::NotOpen.details(), None);
/// ```
pub trait Rejection: Sized + 'static {
    /// The codes, in the order of declaration.
    const CODES: &'static [&'static str];

    /// Stable, for programs: `insufficient-funds`.
    fn code(&self) -> &'static str;

    /// For people.
    fn message(&self) -> String;

    /// A JSON object with the values that matter; none when the variant has no fields.
    ///
    /// # Panics
    /// When a field has no JSON form, for example a map whose keys are not text.
    fn details(&self) -> Option<Vec<u8>>;
}
