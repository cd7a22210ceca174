//! A camera without a lens: motion JPEG over HTTP, of a square that goes round and a grey that
//! changes with every picture.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use image::codecs::jpeg::JpegEncoder;
use image::{Rgb, RgbImage};

/// Between two pictures.
const PERIOD: Duration = Duration::from_millis(33);
/// How long a client may take to say what it wants, or to take a picture.
const PATIENCE: Duration = Duration::from_secs(2);
/// How much brighter each picture is than the last, in steps of 256.
const BRIGHTER: u8 = 7;
/// Pictures in which the square goes round.
const ROUND: u32 = 60;

#[derive(Debug, Default)]
struct Shared {
    frozen: AtomicBool,
    stopped: AtomicBool,
    ended: AtomicBool,
}

/// A camera that listens until it is dropped.
///
/// At `/` it sends pictures. What is not well with cameras can be asked for: `?page` is no stream,
/// the pictures of `?noise` are none, and of `?some-noise` every third one is.
#[derive(Debug)]
pub struct CameraEmulator {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl CameraEmulator {
    /// A camera at `address`, with pictures of this size.
    ///
    /// # Errors
    ///
    /// When it cannot listen there.
    pub fn start(address: SocketAddr, width: u32, height: u32) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let server = shared.clone();
        thread::Builder::new().name("camera-emulator".into()).spawn(move || {
            for stream in listener.incoming() {
                if server.ended.load(Ordering::Relaxed) {
                    return;
                }
                let (Ok(stream), server) = (stream, server.clone()) else { continue };
                // Whoever goes away in the middle is no fault of ours.
                thread::spawn(move || serve(stream, &server, width, height).ok());
            }
        })?;
        Ok(Self { address, shared })
    }

    /// Where its stream is.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// From now on it sends the same picture, or no longer does.
    pub fn freeze(&self, frozen: bool) {
        self.shared.frozen.store(frozen, Ordering::Relaxed);
    }

    /// Closes every connection, and each new one, as if it had been unplugged; or no longer does.
    pub fn unplug(&self, unplugged: bool) {
        self.shared.stopped.store(unplugged, Ordering::Relaxed);
    }
}

impl Drop for CameraEmulator {
    fn drop(&mut self) {
        self.unplug(true);
        self.shared.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address); // wakes the listener up, to end
    }
}

fn serve(mut stream: TcpStream, shared: &Shared, width: u32, height: u32) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut request = String::new();
    BufReader::new(stream.try_clone()?).read_line(&mut request)?;
    let asks = |what: &str| request.contains(&format!("?{what} "));
    if asks("page") {
        return stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n<p>hello</p>");
    }
    let head = "HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace;boundary=frame\r\n\r\n";
    stream.write_all(head.as_bytes())?;
    let mut shown = 0;
    for number in 0_u32.. {
        if shared.stopped.load(Ordering::Relaxed) {
            break;
        }
        if !shared.frozen.load(Ordering::Relaxed) {
            shown = number;
        }
        let jpeg = if asks("noise") || asks("some-noise") && number % 3 == 1 {
            number.to_le_bytes().to_vec()
        } else {
            let mut jpeg = Vec::new();
            let encoder = JpegEncoder::new_with_quality(&mut jpeg, 90);
            draw(shown, width, height).write_with_encoder(encoder).map_err(io::Error::other)?;
            jpeg
        };
        let part = format!("--frame\r\nContent-Length: {}\r\n\r\n", jpeg.len());
        stream.write_all(&[part.as_bytes(), &jpeg, b"\r\n"].concat())?;
        thread::sleep(PERIOD);
    }
    Ok(())
}

fn draw(number: u32, width: u32, height: u32) -> RgbImage {
    let grey = (number as u8).wrapping_mul(BRIGHTER);
    let side = (width.min(height) / 4).max(1);
    let turn = f64::from(number % ROUND) / f64::from(ROUND) * std::f64::consts::TAU;
    let at = |room: u32, part: f64| (f64::from(room - side) * (0.5 + 0.5 * part)) as u32;
    let (left, top) = (at(width, turn.cos()), at(height, turn.sin()));
    let inside = |place: u32, first: u32| (first..first + side).contains(&place);
    RgbImage::from_fn(width, height, |x, y| {
        if inside(x, left) && inside(y, top) { Rgb([230, 120, 30]) } else { Rgb([grey; 3]) }
    })
}
