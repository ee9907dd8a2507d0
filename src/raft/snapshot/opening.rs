//! Opens a snapshot file: it must exist, with a valid header and the length stated there.

use std::io;
use std::sync::Arc;

use super::header::{Announced, FIXED, Header, TRAILER, VERSION};
use super::identity::Identity;
use crate::Error;
use crate::error::CorruptionReason;
use crate::io::{Access, Disk, File, read_exact_at};

/// Opens this snapshot's file in this directory.
pub(super) fn open(disk: &dyn Disk, identity: &Identity) -> Result<(Arc<dyn File>, Header), Error> {
    let file = match disk.open(&identity.name(), Access::Read) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(identity.corruption(disk.path(), 0, CorruptionReason::MissingFile));
        }
        Err(e) => return Err(Error::io("open", identity.path(disk.path()), e)),
    };
    let header = read_header(disk, identity, &*file)?;
    Ok((file, header))
}

/// Reads the header of a file and checks the file's length against it.
fn read_header(disk: &dyn Disk, identity: &Identity, file: &dyn File) -> Result<Header, Error> {
    let corrupt = |at, reason| identity.corruption(disk.path(), at, reason);
    let failed = |e| Error::io("read", identity.path(disk.path()), e);
    let len = file.len().map_err(failed)?;
    let Some(most) = len.checked_sub((FIXED + TRAILER) as u64) else {
        return Err(corrupt(len, CorruptionReason::ShortFile));
    };
    let mut fixed = [0; FIXED];
    read_exact_at(file, &mut fixed, 0).map_err(failed)?;
    let conf_len = match Header::announced(&fixed) {
        Announced::Ours(conf_len) if u64::from(conf_len) <= most => conf_len as usize,
        Announced::Version(found) => {
            let path = identity.path(disk.path());
            return Err(Error::UnsupportedVersion { path, found, supported: VERSION });
        }
        _ => return Err(corrupt(0, CorruptionReason::Content)),
    };
    let mut conf = vec![0; conf_len];
    read_exact_at(file, &mut conf, FIXED as u64).map_err(failed)?;
    let header =
        Header::decode(identity, &fixed, &conf).map_err(|_| corrupt(0, CorruptionReason::Content))?;
    match header.file_len() == Some(len) {
        true => Ok(header),
        false => Err(corrupt(len, CorruptionReason::ShortFile)),
    }
}
