//! The wire format: frames.
//!
//! ```text
//!   length u32 | tag u8 | body                       the length counts tag and body; little-endian
//!
//!   1 raft     group u64 | message (protobuf)        between nodes, no answer
//!   2 put      key length u32 | key | value          11 done | 12 go to: node u64 (0: no leader) | 13 again: text
//!   3 get      key                                   14 value | 15 nothing there
//!   4 status                                         16 text
//!   5 dump                                           17 key length u32 | key | value, any number, then 18
//! ```

use std::io::{self, Read, Write};

use protobuf::Message as _;
use raft::eraftpb::Message;

/// A larger frame is not valid.
const LARGEST: u32 = 1 << 30;

/// One frame.
#[derive(Clone, Debug)]
pub(crate) enum Frame {
    Raft { group: u64, message: Box<Message> },
    Put { key: String, value: Vec<u8> },
    Get { key: String },
    Status,
    Dump,
    Done,
    GoTo { leader: u64 },
    Again { why: String },
    Value { value: Vec<u8> },
    Nothing,
    Text { text: String },
    Pair { key: String, value: Vec<u8> },
    End,
}

fn bad(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// `key length u32 | key | value`, as in frames, commands and snapshots.
pub(crate) fn put_pair(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    out.extend_from_slice(&(key.len() as u32).to_le_bytes());
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(value);
}

/// The reverse of [`put_pair`].
pub(crate) fn get_pair(body: &[u8]) -> io::Result<(String, &[u8])> {
    let (len, rest) = body.split_first_chunk().ok_or_else(|| bad("a pair without a key length"))?;
    let (key, value) = rest
        .split_at_checked(u32::from_le_bytes(*len) as usize)
        .ok_or_else(|| bad("a key that is cut off"))?;
    Ok((text(key)?, value))
}

fn text(bytes: &[u8]) -> io::Result<String> {
    String::from_utf8(bytes.to_vec()).map_err(|e| bad(e.to_string()))
}

impl Frame {
    fn encode(&self) -> io::Result<Vec<u8>> {
        let mut out = vec![0; 4];
        match self {
            Frame::Raft { group, message } => {
                out.push(1);
                out.extend_from_slice(&group.to_le_bytes());
                out.extend_from_slice(&message.write_to_bytes().map_err(|e| bad(e.to_string()))?);
            }
            Frame::Put { key, value } => {
                out.push(2);
                put_pair(&mut out, key, value);
            }
            Frame::Get { key } => {
                out.push(3);
                out.extend_from_slice(key.as_bytes());
            }
            Frame::Status => out.push(4),
            Frame::Dump => out.push(5),
            Frame::Done => out.push(11),
            Frame::GoTo { leader } => {
                out.push(12);
                out.extend_from_slice(&leader.to_le_bytes());
            }
            Frame::Again { why } => {
                out.push(13);
                out.extend_from_slice(why.as_bytes());
            }
            Frame::Value { value } => {
                out.push(14);
                out.extend_from_slice(value);
            }
            Frame::Nothing => out.push(15),
            Frame::Text { text } => {
                out.push(16);
                out.extend_from_slice(text.as_bytes());
            }
            Frame::Pair { key, value } => {
                out.push(17);
                put_pair(&mut out, key, value);
            }
            Frame::End => out.push(18),
        }
        let len = u32::try_from(out.len() - 4).ok().filter(|len| *len <= LARGEST);
        let len = len.ok_or_else(|| bad("a frame of more than 1 GiB"))?;
        for (to, from) in out.iter_mut().zip(len.to_le_bytes()) {
            *to = from;
        }
        Ok(out)
    }

    fn decode(tag: u8, body: Vec<u8>) -> io::Result<Frame> {
        let pair = |body: &[u8]| get_pair(body).map(|(key, value)| (key, value.to_vec()));
        Ok(match tag {
            1 => {
                let (group, rest) =
                    body.split_first_chunk().ok_or_else(|| bad("a message without a group"))?;
                let mut message = Box::new(Message::default());
                message.merge_from_bytes(rest).map_err(|e| bad(e.to_string()))?;
                Frame::Raft { group: u64::from_le_bytes(*group), message }
            }
            2 => pair(&body).map(|(key, value)| Frame::Put { key, value })?,
            3 => Frame::Get { key: text(&body)? },
            4 => Frame::Status,
            5 => Frame::Dump,
            11 => Frame::Done,
            12 => {
                let leader = body.as_slice().try_into().map_err(|_| bad("a leader that is cut off"))?;
                Frame::GoTo { leader: u64::from_le_bytes(leader) }
            }
            13 => Frame::Again { why: text(&body)? },
            14 => Frame::Value { value: body },
            15 => Frame::Nothing,
            16 => Frame::Text { text: text(&body)? },
            17 => pair(&body).map(|(key, value)| Frame::Pair { key, value })?,
            18 => Frame::End,
            other => return Err(bad(format!("unknown frame {other}"))),
        })
    }

    /// Writes the frame.
    pub(crate) fn write(&self, to: &mut impl Write) -> io::Result<()> {
        to.write_all(&self.encode()?)
    }

    /// Reads a frame; `None` at the end of the stream.
    pub(crate) fn read(from: &mut impl Read) -> io::Result<Option<Frame>> {
        let mut head = [0; 4];
        match from.read_exact(&mut head) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(e) => return Err(e),
        }
        let len = u32::from_le_bytes(head);
        if len == 0 || len > LARGEST {
            return Err(bad(format!("a frame of {len} bytes")));
        }
        // Grows with the data received: a length alone does not allocate memory.
        let mut bytes = Vec::new();
        if from.take(u64::from(len)).read_to_end(&mut bytes)? < len as usize {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let tag = bytes.remove(0);
        Frame::decode(tag, bytes).map(Some)
    }
}
