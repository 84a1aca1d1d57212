//! A saved state comes back as it was, or is refused.

use annals_sdk::prelude::*;

use super::*;

#[derive(Debug, PartialEq, Aggregate, Default, Serialize, Deserialize)]
#[aggregate(type = "account")]
struct Account {
    owner: Option<String>,
    balance: u64,
}

#[derive(Debug, PartialEq, Aggregate, Default, Serialize, Deserialize)]
#[aggregate(type = "account", state_version = 2)]
struct AccountOfVersion2 {
    owner: Option<String>,
    balance: u64,
}

#[derive(Debug, PartialEq, Aggregate, Default, Serialize, Deserialize)]
#[aggregate(type = "account", snapshot_format = "json")]
struct AccountAsJson {
    balance: u64,
}

fn account() -> Account {
    Account {
        owner: Some("ann".into()),
        balance: 300,
    }
}

#[test]
fn the_layout_never_changes() {
    let saved = save(&account());
    assert_eq!(saved, Ok(b"\x01\x01\x00\x00\x00\x01\x03ann\xac\x02".to_vec()));
    let saved = save(&AccountAsJson { balance: 300 });
    assert_eq!(saved, Ok(b"\x02\x01\x00\x00\x00{\"balance\":300}".to_vec()));
}

#[test]
fn a_saved_state_comes_back() {
    assert_eq!(save(&account()).and_then(|saved| restore(&saved)), Ok(account()));
    let json = AccountAsJson { balance: 300 };
    assert_eq!(save(&json).and_then(|saved| restore(&saved)), Ok(json));
}

#[test]
fn another_version_or_format_is_refused() {
    let saved = save(&account()).expect("it is saved");
    let refused = restore::<AccountOfVersion2>(&saved).expect_err("another state version");
    assert_eq!(
        refused,
        "saved with state version 1, and this module has state version 2"
    );
    let refused = restore::<AccountAsJson>(&saved).expect_err("another format");
    assert_eq!(refused, "saved in format 1, and this module reads format 2");
}

#[test]
fn what_is_cut_or_has_something_behind_it_is_refused() {
    for whole in [save(&account()), save(&AccountAsJson { balance: 300 })] {
        let whole = whole.expect("it is saved");
        let refused =
            |bytes: &[u8]| restore::<Account>(bytes).is_err() && restore::<AccountAsJson>(bytes).is_err();
        for length in 0..whole.len() {
            assert!(
                refused(&whole[..length]),
                "{length} bytes of {} were taken",
                whole.len()
            );
        }
        let longer = [whole.as_slice(), b"x"].concat();
        assert!(refused(&longer), "a byte behind the state was taken");
    }
}
