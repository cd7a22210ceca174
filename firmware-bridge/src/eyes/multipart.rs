//! `multipart/x-mixed-replace`, the form of motion JPEG over HTTP: bytes in, pictures out.
//!
//! What `ustreamer`, `mjpg-streamer`, IP cameras and telephones send. Some say how long a picture
//! is and some do not; some write the dashes of a boundary twice. All of that is taken.

/// Longest header of a part.
const MAX_HEADER_BYTES: usize = 8 << 10;
/// Largest picture.
const MAX_PICTURE_BYTES: usize = 16 << 20;

/// Why bytes are no stream of pictures.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub(super) enum MultipartError {
    /// It is something else.
    #[error("expected a stream of `multipart/x-mixed-replace` with a boundary, found `{found}`")]
    Kind {
        /// What it says it is.
        found: String,
    },
    /// A part is longer than any picture.
    #[error("a part's {what} is longer than {most} bytes")]
    TooLong {
        /// Header or picture.
        what: &'static str,
        /// What it may be.
        most: usize,
    },
    /// The stream said that it is over.
    #[error("the stream ended")]
    Ended,
}

/// Takes a stream apart.
#[derive(Debug)]
pub(super) struct Multipart {
    /// Two dashes and the boundary's own text.
    delimiter: Vec<u8>,
    bytes: Vec<u8>,
    /// Bytes in which no delimiter begins.
    searched: usize,
    place: Place,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Delimiter,
    Header,
    Picture { len: Option<usize> },
}

impl Multipart {
    /// A stream of which the server says that it is of this `content_type`.
    ///
    /// # Errors
    ///
    /// When it is no stream of parts.
    pub(super) fn new(content_type: &str) -> Result<Self, MultipartError> {
        let kind = || MultipartError::Kind { found: content_type.to_owned() };
        let mut fields = content_type.split(';').map(str::trim);
        let mixed = fields.next().is_some_and(|kind| {
            ["multipart/x-mixed-replace", "multipart/mixed"]
                .iter()
                .any(|known| kind.eq_ignore_ascii_case(known))
        });
        let boundary = fields.find_map(|field| {
            let (name, value) = field.split_once('=')?;
            name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"'))
        });
        let boundary = boundary.map(|boundary| boundary.trim_start_matches('-'));
        let boundary =
            boundary.filter(|boundary| mixed && !boundary.is_empty()).ok_or_else(kind)?;
        let delimiter = [b"--", boundary.as_bytes()].concat();
        Ok(Self { delimiter, bytes: Vec::new(), searched: 0, place: Place::Delimiter })
    }

    /// Takes what came.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole picture, as it was sent.
    ///
    /// # Errors
    ///
    /// When no more pictures can come of this stream.
    pub(super) fn next(&mut self) -> Result<Option<Vec<u8>>, MultipartError> {
        loop {
            match self.place {
                Place::Delimiter => {
                    let Some(at) = self.delimiter_at() else {
                        // What came before the first delimiter is nobody's.
                        self.take(self.searched);
                        return Ok(None);
                    };
                    let rest = self.bytes.get(at + self.delimiter.len()..).unwrap_or_default();
                    let Some(end) = rest.iter().position(|&byte| byte == b'\n') else {
                        let most = MAX_HEADER_BYTES;
                        let long = MultipartError::TooLong { what: "header", most };
                        return if rest.len() > most { Err(long) } else { Ok(None) };
                    };
                    if rest.starts_with(b"--") {
                        return Err(MultipartError::Ended);
                    }
                    self.take(at + self.delimiter.len() + end + 1);
                    self.place = Place::Header;
                }
                Place::Header => {
                    let Some((len, used)) = header(&self.bytes)? else { return Ok(None) };
                    self.take(used);
                    self.place = Place::Picture { len };
                }
                Place::Picture { len: Some(len) } => {
                    if self.bytes.len() < len {
                        return Ok(None);
                    }
                    self.place = Place::Delimiter;
                    return Ok(Some(self.take(len)));
                }
                Place::Picture { len: None } => {
                    let Some(at) = self.delimiter_at() else {
                        let most = MAX_PICTURE_BYTES;
                        let long = MultipartError::TooLong { what: "picture", most };
                        return if self.bytes.len() > most { Err(long) } else { Ok(None) };
                    };
                    self.place = Place::Delimiter;
                    let mut picture = self.take(at);
                    for end in *b"\n\r" {
                        if picture.last() == Some(&end) {
                            picture.pop();
                        }
                    }
                    return Ok(Some(picture));
                }
            }
        }
    }

    /// Where the next delimiter begins.
    fn delimiter_at(&mut self) -> Option<usize> {
        let rest = self.bytes.get(self.searched..).unwrap_or_default();
        let found = rest.windows(self.delimiter.len()).position(|part| part == self.delimiter);
        if found.is_none() {
            self.searched = (self.bytes.len() + 1).saturating_sub(self.delimiter.len());
        }
        found.map(|at| self.searched + at)
    }

    fn take(&mut self, len: usize) -> Vec<u8> {
        self.searched = 0;
        let rest = self.bytes.split_off(len.min(self.bytes.len()));
        std::mem::replace(&mut self.bytes, rest)
    }
}

/// The length that a part's header gives, and the header's own. `None` while it is not whole.
fn header(bytes: &[u8]) -> Result<Option<(Option<usize>, usize)>, MultipartError> {
    let (mut len, mut used) = (None, 0);
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        used += line.len();
        if !line.ends_with(b"\n") {
            break;
        }
        let line = line.trim_ascii();
        if line.is_empty() {
            return Ok(Some((len, used)));
        }
        let text = String::from_utf8_lossy(line);
        if let Some((name, value)) = text.split_once(':')
            && name.trim().eq_ignore_ascii_case("content-length")
        {
            len = value.trim().parse::<usize>().ok();
            if len.is_some_and(|len| len > MAX_PICTURE_BYTES) {
                return Err(MultipartError::TooLong { what: "picture", most: MAX_PICTURE_BYTES });
            }
        }
    }
    let most = MAX_HEADER_BYTES;
    if used > most { Err(MultipartError::TooLong { what: "header", most }) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that comes of `bytes` in pieces of `size`.
    fn pictures(content_type: &str, bytes: &[u8], size: usize) -> Vec<Vec<u8>> {
        let mut stream = Multipart::new(content_type).unwrap();
        let mut all = Vec::new();
        for piece in bytes.chunks(size) {
            stream.push(piece);
            while let Some(picture) = stream.next().unwrap() {
                all.push(picture);
            }
        }
        all
    }

    #[test]
    fn pictures_come_out_whole_however_the_bytes_are_cut() {
        // As ustreamer, as one that gives no length, and as one that writes its dashes twice.
        let told =
            b"--b0\r\nContent-Type: image/jpeg\r\nContent-Length: 6\r\nX-Timestamp: 1.5\r\n\r\n\
                     \xff\xd8--b0\r\n--b0\r\ncontent-length:3\r\n\r\nabc\r\n--b0\r\n";
        let untold = b"garbage--b0\nContent-Type: image/jpeg\n\n\xff\xd8one\r\n\xff\xd9\r\n--b0\n\ntwo\n--b0\n";
        for size in 1..told.len() {
            let found = pictures("multipart/x-mixed-replace;boundary=b0", told, size);
            assert_eq!(found, [&b"\xff\xd8--b0"[..], b"abc"], "{size} bytes at a time");
            let found = pictures("Multipart/X-Mixed-Replace; boundary=\"--b0\"", untold, size);
            assert_eq!(found, [&b"\xff\xd8one\r\n\xff\xd9"[..], b"two"], "{size} bytes at a time");
        }
    }

    #[test]
    fn what_is_no_stream_is_said() {
        for kind in ["image/jpeg", "multipart/x-mixed-replace", "text/html; boundary=b", ""] {
            let error = Multipart::new(kind).unwrap_err();
            assert_eq!(error, MultipartError::Kind { found: kind.into() });
        }
        let mut stream = Multipart::new("multipart/x-mixed-replace;boundary=b").unwrap();
        stream.push(b"--b\r\nContent-Length: 99999999999\r\n\r\n");
        let error = stream.next().unwrap_err();
        assert_eq!(error.to_string(), "a part's picture is longer than 16777216 bytes");
        let mut stream = Multipart::new("multipart/x-mixed-replace;boundary=b").unwrap();
        stream.push(b"--b\r\n");
        stream.push(&[b'x'; MAX_HEADER_BYTES + 1]);
        assert!(stream.next().is_err(), "a header without an end");
        let mut stream = Multipart::new("multipart/x-mixed-replace;boundary=b").unwrap();
        stream.push(b"--b\r\nContent-Length: 1\r\n\r\nx\r\n--b--\r\n");
        assert_eq!(stream.next(), Ok(Some(b"x".to_vec())));
        assert_eq!(stream.next(), Err(MultipartError::Ended));
    }

    #[test]
    fn what_nobody_asked_for_is_not_kept() {
        let mut stream = Multipart::new("multipart/x-mixed-replace;boundary=b").unwrap();
        for _ in 0..100 {
            stream.push(&[0; 1000]);
            assert_eq!(stream.next(), Ok(None));
        }
        assert!(stream.bytes.len() < 10);
    }
}
