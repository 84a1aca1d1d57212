//! The derives, with their documentation.

/// See [the trait](trait@crate::Aggregate) for what `#[aggregate(…)]` takes.
///
/// ```
/// use annals_sdk::prelude::*;
///
/// #[derive(Aggregate, Default, Serialize, Deserialize)]
/// #[aggregate(type = "account")]
/// struct Account { balance: u64 }
///
/// assert_eq!(Account::TYPE, "account");
/// ```
#[doc(inline)]
pub use annals_sdk_macros::Aggregate;

/// See [the trait](trait@crate::Command) for what `#[command(…)]` takes.
///
/// ```
/// use annals_sdk::prelude::*;
///
/// #[derive(Command)]
/// enum AccountCommand { Open { owner: String }, #[command(name = "close")] CloseForGood }
///
/// assert_eq!(AccountCommand::NAMES, ["open", "close"]);
/// ```
#[doc(inline)]
pub use annals_sdk_macros::Command;

/// See [the trait](trait@crate::Event) for what `#[event(…)]` takes.
///
/// ```
/// use annals_sdk::prelude::*;
///
/// #[derive(Event)]
/// enum AccountEvent { #[event(schema = 2)] Opened { owner: String }, Closed }
///
/// assert_eq!(AccountEvent::TYPES, [("opened", 2), ("closed", 1)]);
/// ```
#[doc(inline)]
pub use annals_sdk_macros::Event;

/// See [the trait](trait@crate::Rejection) for what `#[rejection(…)]` takes.
///
/// ```
/// use annals_sdk::prelude::*;
///
/// #[derive(Rejection)]
/// enum AccountRejection { #[rejection("the account is not open")] NotOpen }
///
/// assert_eq!(AccountRejection::NotOpen.code(), "not-open");
/// ```
#[doc(inline)]
pub use annals_sdk_macros::Rejection;

/// It takes serde's attributes, and implements serde's trait.
///
/// ```
/// use annals_sdk::prelude::*;
///
/// #[derive(Serialize)]
/// struct Item { #[serde(rename = "stock-unit")] sku: String }
///
/// assert_eq!(json!(Item { sku: "x".into() }), json!({ "stock-unit": "x" }));
/// ```
#[doc(inline)]
pub use annals_sdk_macros::Serialize;

/// It takes serde's attributes, and implements serde's trait.
///
/// ```
/// use annals_sdk::prelude::*;
///
/// #[derive(Serialize, Deserialize, JsonSchema)]
/// #[serde(deny_unknown_fields)]
/// struct Item { sku: String, #[serde(default)] amount: u32 }
///
/// #[derive(Command)]
/// enum OrderCommand { Add { items: Vec<Item> } }
///
/// assert!(OrderCommand::decode("add", br#"{"items":[{"sku":"x"}]}"#).is_ok());
/// assert!(OrderCommand::decode("add", br#"{"items":[{"sku":"x","amuont":2}]}"#).is_err());
/// ```
#[doc(inline)]
pub use annals_sdk_macros::Deserialize;

/// It takes schemars' and serde's attributes, and implements schemars' trait. Types inside commands and events need it.
///
/// ```
/// use annals_sdk::prelude::*;
///
/// #[derive(Serialize, Deserialize, JsonSchema)]
/// struct Item { sku: String }
///
/// #[derive(Event)]
/// enum OrderEvent { Added { item: Item } }
///
/// assert!(OrderEvent::schemas()[0].json_schema.contains("sku"));
/// ```
#[doc(inline)]
pub use annals_sdk_macros::JsonSchema;
