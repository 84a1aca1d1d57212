//! A file whose commits free their pages late loses none of them.

use std::sync::Arc;

use redb::TableDefinition;

use super::disk::Disk;
use crate::store::file::{Database, Files, Mode};

const NAME: &str = "small.redb";
const ROWS: TableDefinition<u64, &[u8]> = TableDefinition::new("rows");
/// Each goes through half a dozen pages: 80 MB of them.
const COMMITS: u64 = 3_000;

#[test]
fn pages_are_used_again_and_the_file_stays_whole() {
    let files: Arc<dyn Files> = Arc::new(Disk::new(3));
    Database::create(&files, NAME, |transaction| {
        transaction.open_table(ROWS)?;
        Ok(())
    })
    .unwrap();
    let open =
        || Database::new(Arc::clone(&files), NAME.to_owned(), 1 << 20, Mode::Writable).with_late_frees();
    let database = open();
    for number in 0..COMMITS {
        let written = database.write(|transaction| {
            let mut table = transaction.open_table(ROWS)?;
            table.insert(number % 10, &number.to_be_bytes()[..])?;
            Ok(())
        });
        assert!(written.is_ok(), "commit {number}");
    }
    assert!(
        database.verify().unwrap(),
        "its pages are those that its tables name"
    );
    assert!(
        database.file_bytes() <= 2 << 20,
        "{} bytes",
        database.file_bytes()
    );
    database.shut();
    let newest = open().read(|transaction| {
        let table = transaction.open_table(ROWS)?;
        Ok(table.get((COMMITS - 1) % 10)?.map(|row| row.value().to_vec()))
    });
    assert_eq!(newest.unwrap(), Some((COMMITS - 1).to_be_bytes().to_vec()));
}
