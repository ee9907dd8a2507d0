//! open-wal, which has one writer.

use std::path::Path;
use std::sync::Mutex;

use open_wal::{Lsn, NullObserver, Wal, WalConfig};

use crate::subject::Log;

/// The lock satisfies the trait: only one thread calls.
struct OpenWal(Mutex<Wal<NullObserver>>);

pub fn open(dir: &Path) -> Box<dyn Log> {
    let (wal, _) = Wal::open(dir, WalConfig::default()).expect("open");
    Box::new(OpenWal(Mutex::new(wal)))
}

impl Log for OpenWal {
    fn append(&self, _: usize, record: &[u8]) {
        self.append_many(&[record]);
    }

    fn append_many(&self, records: &[&[u8]]) {
        let mut wal = self.0.lock().expect("the lock");
        for record in records {
            wal.append(record).expect("append");
        }
        wal.commit().expect("commit");
    }

    fn forget(&self) {
        let mut wal = self.0.lock().expect("the lock");
        let Lsn(durable) = wal.durable_lsn();
        wal.checkpoint(Lsn(durable)).expect("checkpoint");
    }
}
