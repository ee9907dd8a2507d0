//! wal-db with segments of the same size as the others.

use std::path::Path;

use wal_db::Wal;

use crate::subject::Log;

struct WalDb(Wal<wal_db::SegmentedStore>);

pub fn open(dir: &Path) -> Box<dyn Log> {
    Box::new(WalDb(Wal::open_segmented(dir, 64 << 20).expect("open")))
}

impl Log for WalDb {
    fn append(&self, _: usize, record: &[u8]) {
        let _lsn = self.0.append_and_sync(record).expect("append");
    }

    fn append_many(&self, records: &[&[u8]]) {
        for record in records {
            let _lsn = self.0.append(record).expect("append");
        }
        self.0.sync().expect("sync");
    }
}
