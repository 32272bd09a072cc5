//! The frames of a command's stream (RFC 6455, 5.2) and its channels (remotecommand protocols v4 and
//! v5), as far as a server sends them.

use probe::ExecReport;

use crate::fault::Cut;

const FINAL: u8 = 0x80;
const CONTINUATION: u8 = 0;
const BINARY: u8 = 2;
const MASKED: u8 = 0x80;

const STDERR: u8 = 2;
const STATUS: u8 = 3;

/// What an API server says of a command that succeeded.
const SUCCESS: &[u8] = br#"{"metadata":{},"status":"Success"}"#;

/// A normal closure: opcode 8, code 1000.
const CLOSE: [u8; 4] = [FINAL | 8, 2, 0x03, 0xe8];

/// A frame of the server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Frame<'a> {
    /// The final bit and the opcode.
    head: u8,
    payload: &'a [u8],
    /// All of it.
    raw: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The first frame of these bytes. None where it is not complete, or masked, as a server's never is.
    fn first(bytes: &'a [u8]) -> Option<Self> {
        let [head, length, rest @ ..] = bytes else { return None };
        let (length, rest): (u64, &[u8]) = match *length {
            MASKED.. => return None,
            126 => {
                let (length, rest) = rest.split_first_chunk()?;
                (u16::from_be_bytes(*length).into(), rest)
            }
            127 => {
                let (length, rest) = rest.split_first_chunk()?;
                (u64::from_be_bytes(*length), rest)
            }
            length => (length.into(), rest),
        };
        let payload = rest.get(..usize::try_from(length).ok()?)?;
        let size = bytes.len() - rest.len() + payload.len();
        Some(Self { head: *head, payload, raw: &bytes[..size] })
    }

    fn opcode(self) -> u8 {
        self.head & 0xf
    }
}

/// A frame with this payload.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let length = payload.len();
    let mut bytes = vec![FINAL | opcode];
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length @ ..=125), _) => bytes.push(length),
        (_, Ok(length)) => {
            bytes.push(126);
            bytes.extend(length.to_be_bytes());
        }
        _ => {
            bytes.push(127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend(payload);
    bytes
}

/// A command's stream that is cut, after which the server claims that the command succeeded.
#[derive(Debug)]
pub(super) struct FalseSuccess {
    cut: Cut,
    /// What has come of a frame that is not complete.
    rest: Vec<u8>,
    /// The channel of the message that continues.
    channel: Option<u8>,
    /// The end of what the command has written to standard error.
    tail: Vec<u8>,
    has_ended: bool,
}

impl FalseSuccess {
    pub(super) fn new(cut: Cut) -> Self {
        Self { cut, rest: Vec::new(), channel: None, tail: Vec::new(), has_ended: false }
    }

    /// Whether nothing follows.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// What the client gets where the server sends this.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut received = std::mem::take(&mut self.rest);
        received.extend(bytes);
        let mut rest = &received[..];
        let mut passed = Vec::new();
        while let Some(frame) = Frame::first(rest).filter(|_| !self.has_ended) {
            rest = &rest[frame.raw.len()..];
            self.pass_frame(frame, &mut passed);
        }
        self.rest = rest.to_vec();
        passed
    }

    fn pass_frame(&mut self, whole: Frame<'_>, passed: &mut Vec<u8>) {
        let data = match (whole.opcode(), whole.payload) {
            (BINARY, [channel, data @ ..]) => {
                self.channel = Some(*channel);
                data
            }
            (CONTINUATION, data) => data,
            // It may come between the frames of a message.
            _ => return passed.extend(whole.raw),
        };
        match self.channel {
            Some(STATUS) => self.claim(passed),
            Some(STDERR) => match self.end(data) {
                Some(end) => {
                    let kept = whole.payload.len() - data.len() + end;
                    passed.extend(frame(whole.opcode(), &whole.payload[..kept]));
                    self.claim(passed);
                }
                None => passed.extend(whole.raw),
            },
            _ => passed.extend(whole.raw),
        }
    }

    /// Where this next part of standard error is cut, if it is.
    fn end(&mut self, data: &[u8]) -> Option<usize> {
        let before = self.tail.len();
        self.tail.extend(data);
        let end = match self.cut {
            Cut::Begun => ExecReport::end_of_begun(&self.tail),
            Cut::Report => ExecReport::end_of_report(&self.tail).map(|end| end - 1),
        };
        let excess = self.tail.len().saturating_sub(ExecReport::LIMIT);
        self.tail.drain(..excess);
        end.map(|end| end.saturating_sub(before))
    }

    fn claim(&mut self, passed: &mut Vec<u8>) {
        passed.extend(frame(BINARY, &[&[STATUS], SUCCESS].concat()));
        passed.extend(CLOSE);
        self.has_ended = true;
    }
}

#[cfg(test)]
mod tests {
    use probe::ProgramEnd;

    use super::*;

    const NONCE: &str = "0123456789abcdef";
    const STDOUT: u8 = 1;

    fn message(channel: u8, data: &[u8]) -> Vec<u8> {
        frame(BINARY, &[&[channel], data].concat())
    }

    fn report() -> String {
        ExecReport { end: ProgramEnd::Exited(42), stdout: 6, stderr: 5 }.ended(NONCE)
    }

    /// What an API server sends of a command that exits with 42.
    fn stream() -> Vec<u8> {
        let begun = ExecReport::begun(NONCE);
        let failure = br#"{"status":"Failure","reason":"NonZeroExitCode"}"#;
        [
            vec![FINAL | 9, 0],
            message(STDERR, begun.as_bytes()),
            message(STDOUT, b"output"),
            message(STDERR, format!("error{}", report()).as_bytes()),
            message(STATUS, failure),
            CLOSE.to_vec(),
        ]
        .concat()
    }

    /// The data of each channel that these bytes hold, and whether the connection is closed.
    fn read(mut bytes: &[u8]) -> ([Vec<u8>; 4], bool) {
        let mut channels = <[Vec<u8>; 4]>::default();
        let mut is_closed = false;
        while let Some(frame) = Frame::first(bytes) {
            bytes = &bytes[frame.raw.len()..];
            is_closed |= frame.opcode() == 8;
            if let (BINARY, [channel, data @ ..]) = (frame.opcode(), frame.payload) {
                channels[usize::from(*channel)].extend(data);
            }
        }
        assert_eq!(bytes, b"", "nothing else");
        (channels, is_closed)
    }

    fn passed(cut: Cut, bytes: &[u8], size: usize) -> Vec<u8> {
        let mut stream = FalseSuccess::new(cut);
        let passed = bytes.chunks(size).map(|chunk| stream.pass(chunk)).collect::<Vec<_>>();
        assert!(stream.has_ended());
        passed.concat()
    }

    #[test]
    fn a_command_has_begun_when_its_stream_is_cut_and_reports_no_end() {
        let begun = ExecReport::begun(NONCE);
        for size in [1, 2, 7, 1000] {
            let ([_, _, stderr, status], is_closed) = read(&passed(Cut::Begun, &stream(), size));
            assert_eq!(stderr, begun.as_bytes(), "{size}");
            assert_eq!(status, SUCCESS);
            assert!(is_closed);
        }
    }

    #[test]
    fn the_mark_and_the_report_in_one_message_are_cut_apart() {
        let begun = ExecReport::begun(NONCE);
        let whole = message(STDERR, format!("{begun}{}", report()).as_bytes());
        let ([_, _, stderr, status], _) = read(&passed(Cut::Begun, &whole, 1000));
        assert_eq!((stderr, &*status), (begun.into_bytes(), SUCCESS));
    }

    #[test]
    fn all_but_the_last_byte_of_the_report_is_passed_on() {
        for size in [1, 3, 1000] {
            let ([_, stdout, stderr, status], _) = read(&passed(Cut::Report, &stream(), size));
            let whole = format!("{}error{}", ExecReport::begun(NONCE), report());
            assert_eq!(stderr, &whole.as_bytes()[..whole.len() - 1], "{size}");
            assert_eq!((&*stdout, &*status), (&b"output"[..], SUCCESS));
        }
    }

    #[test]
    fn the_report_is_found_behind_much_output() {
        let output = vec![b'x'; 200_000];
        let begun = message(STDERR, ExecReport::begun(NONCE).as_bytes());
        let stream = [begun, message(STDERR, &output), message(STDERR, report().as_bytes())];
        let ([_, _, stderr, _], _) = read(&passed(Cut::Report, &stream.concat(), 8192));
        assert!(stderr.ends_with(&report().as_bytes()[..report().len() - 1]));
    }

    #[test]
    fn a_command_without_a_report_succeeds_when_it_ends() {
        let stream = [message(STDERR, b"no"), message(STATUS, b"{}")].concat();
        for cut in [Cut::Begun, Cut::Report] {
            let ([_, _, stderr, status], _) = read(&passed(cut, &stream, 1000));
            assert_eq!((&*stderr, &*status), (&b"no"[..], SUCCESS));
        }
    }

    #[test]
    fn a_message_in_several_frames_stays_on_its_channel() {
        let begun = ExecReport::begun(NONCE);
        let mut first = message(STDERR, &begun.as_bytes()[..5]);
        first[0] = BINARY;
        let second = frame(CONTINUATION, &begun.as_bytes()[5..]);
        let ping = [FINAL | 9, 0];
        let mut stream = FalseSuccess::new(Cut::Begun);
        assert_eq!(stream.pass(&first), first);
        assert_eq!(stream.pass(&ping), ping);
        let rest = stream.pass(&second);
        assert!(rest.starts_with(&second) && stream.has_ended());
    }

    #[test]
    fn frames_of_every_length_are_read_as_they_are_written() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536] {
            let bytes = frame(BINARY, &vec![b'x'; length]);
            let read = Frame::first(&bytes).expect("a frame");
            assert_eq!((read.payload.len(), read.raw.len()), (length, bytes.len()));
            assert_eq!(Frame::first(&bytes[..bytes.len() - 1]), None, "{length}");
        }
        assert_eq!(Frame::first(&[FINAL | BINARY, MASKED | 1, 0, 0, 0, 0, 0]), None);
    }
}
